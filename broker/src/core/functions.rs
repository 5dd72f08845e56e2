//! The functions of this machine: made once from the configuration, used by triggers and by the Invoke API alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use eventail_triggers::function::{Function, FunctionOptions};
use eventail_wire::{Clock, FunctionName};

/// The functions by name. It must be made in a runtime: functions with `min_instances` start them at once.
#[derive(Debug, Default)]
pub(crate) struct Functions(ArcSwap<BTreeMap<FunctionName, Arc<Function>>>);

impl Functions {
    pub(crate) fn new(options: &BTreeMap<FunctionName, FunctionOptions>, clock: &Arc<dyn Clock>) -> Self {
        let make = |(name, options): (&FunctionName, &FunctionOptions)| {
            (name.clone(), Function::new(options.clone(), Arc::clone(clock)))
        };
        Self(ArcSwap::from_pointee(options.iter().map(make).collect()))
    }

    pub(crate) fn get(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.0.load().get(name).cloned()
    }

    /// Ends all of them, side by side, and returns when the last process is gone.
    pub(crate) async fn close(&self) {
        let mut closing = tokio::task::JoinSet::new();
        for function in self.0.load_full().values() {
            let function = Arc::clone(function);
            closing.spawn(async move { function.close().await });
        }
        while let Some(closed) = closing.join_next().await {
            if let Err(error) = closed {
                tracing::error!(%error, "a function could not be closed");
            }
        }
    }
}
