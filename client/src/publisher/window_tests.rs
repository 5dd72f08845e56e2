//! The window against a model of a server: whatever is refused, answered or lost, each event is taken once and in order,
//! and each answer is handed out once and in order.

use std::collections::{HashMap, HashSet, VecDeque};

use eventail_wire::frame::{Published, result_runs};
use eventail_wire::{Code, Offset};
use proptest::collection::vec;
use proptest::prelude::*;

use tokio::sync::oneshot;

use super::super::entry::{Batch, Reply};
use super::*;

const LIMITS: PeerLimits = PeerLimits {
    event_bytes_max: 1_000,
    batch_events_max: 4,
    batch_bytes_max: 1_000,
    frame_bytes_max: 2_000,
    credit_max: 1,
};

#[derive(Clone, Debug)]
enum Step {
    /// The program publishes this many events together.
    Publish(usize),
    /// A frame goes out.
    Send,
    /// The server takes the oldest frame, or refuses it for the time being or for good.
    Serve(Verdict),
    /// An answer arrives.
    Answer,
    /// The client goes back to what was refused.
    Resume,
    /// The connection is lost with everything that is on the way.
    Lose,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Take,
    Later,
    Never,
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![6 => Just(Verdict::Take), 2 => Just(Verdict::Later), 1 => Just(Verdict::Never)];
    prop_oneof![
        4 => (1usize..4).prop_map(Step::Publish),
        4 => Just(Step::Send),
        4 => verdict.prop_map(Step::Serve),
        4 => Just(Step::Answer),
        2 => Just(Step::Resume),
        1 => Just(Step::Lose),
    ]
}

enum Answer {
    Published(Published),
    Refused(u64, Code),
}

/// What a server does that keeps the protocol and deduplicates.
#[derive(Default)]
struct Server {
    log: Vec<String>,
    known: HashMap<String, Offset>,
    /// Refused for good, and so ever after.
    never: HashSet<String>,
    gap: Option<u64>,
    frames: VecDeque<(u64, Vec<String>)>,
    answers: VecDeque<Answer>,
}

impl Server {
    fn serve(&mut self, verdict: Verdict) {
        let Some((request, ids)) = self.frames.pop_front() else { return };
        if self.gap == Some(request) {
            self.gap = None;
        }
        let is_never = ids.iter().any(|id| self.never.contains(id));
        let verdict = if is_never { Verdict::Never } else { verdict };
        let answer = match (self.gap, verdict) {
            (Some(_), _) => Answer::Refused(request, Code::Overloaded),
            (None, Verdict::Later) => {
                self.gap = Some(request);
                Answer::Refused(request, Code::Overloaded)
            }
            (None, Verdict::Never) => {
                self.never.extend(ids);
                Answer::Refused(request, Code::UnknownTopic)
            }
            (None, Verdict::Take) => {
                let results: Vec<_> = ids.into_iter().map(|id| self.append(id)).collect();
                Answer::Published(Published { request, runs: result_runs(results) })
            }
        };
        self.answers.push_back(answer);
    }

    fn append(&mut self, id: String) -> (Offset, bool) {
        if let Some(&offset) = self.known.get(&id) {
            return (offset, true);
        }
        let offset = Offset(self.log.len() as u64);
        self.known.insert(id.clone(), offset);
        self.log.push(id);
        (offset, false)
    }

    fn lose_connection(&mut self) {
        (self.gap, self.frames, self.answers) = (None, VecDeque::new(), VecDeque::new());
    }
}

type Waiting = (Vec<String>, oneshot::Receiver<Result<Vec<PublishAck>, ClientError>>);

struct Model {
    window: Window,
    server: Server,
    waiting: VecDeque<Waiting>,
    published: u64,
    refused_for_good: usize,
}

impl Model {
    fn new() -> Self {
        let mut window = Window::new(&PublisherOptions::default().batch(3, 1_000));
        window.begin(LIMITS);
        let (server, waiting) = (Server::default(), VecDeque::new());
        Self { window, server, waiting, published: 0, refused_for_good: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Publish(count) => self.publish(*count),
            Step::Send => {
                if let Some((request, events)) = self.window.next_frame() {
                    let ids = events.map(|bytes| Event::decode(bytes.clone()).unwrap().id().to_owned());
                    self.server.frames.push_back((request, ids.collect()));
                }
            }
            Step::Serve(verdict) => self.server.serve(*verdict),
            Step::Answer => match self.server.answers.pop_front() {
                Some(Answer::Published(published)) => self.window.take_published(&published).unwrap(),
                Some(Answer::Refused(request, code)) => {
                    let error = ClientError::Refused { code, message: String::new(), retry_after_ms: None };
                    self.window.take_refused(request, error).unwrap();
                }
                None => {}
            },
            Step::Resume if self.window.refused().is_some() => self.window.resume(),
            Step::Resume => {}
            Step::Lose => {
                self.server.lose_connection();
                self.window.begin(LIMITS);
            }
        }
        self.window.hand_out();
        self.check_answers();
    }

    fn publish(&mut self, count: usize) {
        let ids: Vec<_> = (0..count as u64).map(|more| (self.published + more).to_string()).collect();
        self.published += count as u64;
        let events = ids.iter().map(|id| Event::builder(id, "/model", "t").build().unwrap()).collect();
        let (reply, answer) = oneshot::channel();
        self.window.push(Entry::new(Batch::Many(events), Share::default(), Reply::Many(reply)));
        self.waiting.push_back((ids, answer));
    }

    /// Answers come in order, so none stands behind one that is still out.
    fn check_answers(&mut self) {
        while let Some((ids, answer)) = self.waiting.front_mut() {
            match answer.try_recv() {
                Ok(Ok(acks)) => {
                    let offsets: Vec<_> = ids.iter().map(|id| self.server.known[id]).collect();
                    assert_eq!(acks.iter().filter_map(PublishAck::offset).collect::<Vec<_>>(), offsets);
                }
                Ok(Err(error)) => {
                    assert_eq!(error.code(), Some(Code::UnknownTopic));
                    self.refused_for_good += ids.len();
                }
                Err(oneshot::error::TryRecvError::Empty) => break,
                Err(oneshot::error::TryRecvError::Closed) => panic!("an entry left without its answer"),
            }
            self.waiting.pop_front();
        }
        assert!(
            self.waiting.iter_mut().all(|(_, answer)| answer.is_empty()),
            "an answer came before its turn"
        );
    }
}

proptest! {
    #[test]
    fn every_event_is_taken_once_and_in_order_and_every_answer_handed_out(steps in vec(step(), 0..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
        }
        // Then the server is well, and all comes to its end.
        for _ in 0..steps.len() + 2 {
            for step in [Step::Send, Step::Serve(Verdict::Take), Step::Answer, Step::Resume] {
                model.take(&step);
            }
        }
        for _ in 0..3 * steps.len() {
            for step in [Step::Serve(Verdict::Take), Step::Answer, Step::Resume, Step::Send] {
                model.take(&step);
            }
        }
        prop_assert!(model.waiting.is_empty() && model.window.is_empty());
        prop_assert!(!model.window.has_unsent());
        let numbers: Vec<u64> = model.server.log.iter().map(|id| id.parse().unwrap()).collect();
        prop_assert!(numbers.is_sorted(), "taken out of order: {numbers:?}");
        prop_assert!(numbers.len() as u64 + model.refused_for_good as u64 >= model.published);
    }
}
