//! The topics that are open, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use eventail_storage::log::Durability;
use eventail_wire::TopicName;

use super::open::open_log;
use super::subscriber::DEAD_LETTER_TOPIC;
use super::topic::{Topic, log_options};
use super::{BrokerError, Core};
use crate::config::{Config, TopicOptions};

/// The topics that are open.
#[derive(Default)]
pub(crate) struct Topics {
    open: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    creating: tokio::sync::Mutex<()>,
}

impl Topics {
    pub(crate) fn get(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn insert(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(topic.name.clone(), Arc::clone(&topic));
        topic
    }
}

impl Core {
    /// The topic of this name.
    pub(crate) fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, BrokerError> {
        self.topics.get(name).ok_or_else(|| BrokerError::UnknownTopic(name.clone()))
    }

    /// The topic of this name, created if the configuration lets a publish do that.
    pub(crate) async fn topic_for_publish(&self, name: &TopicName) -> Result<Arc<Topic>, BrokerError> {
        if !self.config.load().topics.auto_create {
            return self.topic(name);
        }
        self.topic_or_create(name).await
    }

    /// The topic of this name, created if there is none.
    pub(crate) async fn topic_or_create(&self, name: &TopicName) -> Result<Arc<Topic>, BrokerError> {
        self.topic_or_create_under(&self.config(), name).await
    }

    /// The same by a configuration that may not be in effect yet.
    pub(crate) async fn topic_or_create_under(
        &self,
        config: &Config,
        name: &TopicName,
    ) -> Result<Arc<Topic>, BrokerError> {
        let _one_at_a_time = self.topics.creating.lock().await;
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic);
        }
        let limit = config.limits.topics_max;
        if self.topics.all().len() >= limit {
            return Err(BrokerError::TooManyTopics { topic: name.clone(), limit });
        }
        let options = topic_options(config, name);
        let log = open_log(&self.store, name.to_string(), log_options(&options)).await?;
        tracing::info!(topic = %name, "topic created");
        Ok(self.topics.insert(Topic::new(name.clone(), log, &options)))
    }

    /// Has the topics that are open kept as another configuration says.
    pub(crate) async fn keep_topics_as(&self, old: &Config, new: &Config) {
        for topic in self.topics.all() {
            let options = topic_options(new, &topic.name);
            if topic_options(old, &topic.name) == options {
                continue;
            }
            match open_log(&self.store, topic.name.to_string(), log_options(&options)).await {
                Ok(_) => topic.set_durability(options.durability),
                Err(error) => {
                    tracing::warn!(topic = %topic.name, %error, "the topic is kept as before until the next start");
                }
            }
        }
    }
}

/// How the topic of this name is kept. A dead letter is on disk before its event is settled, so its topic is always `sync`.
pub(crate) fn topic_options(config: &Config, name: &TopicName) -> TopicOptions {
    let topics = &config.topics;
    let mut options = topics.named.get(name).unwrap_or(&topics.defaults).clone();
    let holds_dead_letters = name.as_str() == DEAD_LETTER_TOPIC
        || config.triggers.values().any(|trigger| trigger.dead_letter_topic == *name);
    if holds_dead_letters {
        options.durability = Durability::Sync;
    }
    options
}
