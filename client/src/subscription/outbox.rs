//! Outcomes on their way to the server: gathered, so that a burst of them is a few frames.

use eventail_wire::frame::{Credit, Frame, FrameBuffer, FrameError, Nack, Reject, Tokens};

/// Tokens in one frame at most: far below the limit of a frame without events.
const TOKENS_MAX: usize = 8_192;

/// What the program says about one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ack,
    Nack {
        delay_ms: Option<u64>,
        reason: String,
    },
    Reject {
        reason: String,
    },
    Extend,
    /// Nothing: the lease runs out, but the program's hands are free.
    Dropped,
}

/// What the program sends to its subscription's task.
#[derive(Debug)]
pub(crate) enum Settlement {
    Outcome { stream: u64, token: u64, outcome: Outcome },
    Close,
}

/// Outcomes that were gathered.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    acks: Vec<u64>,
    extensions: Vec<u64>,
    nacks: Vec<Nack>,
    rejects: Vec<Reject>,
    credit: u32,
}

impl Outbox {
    pub(crate) fn add(&mut self, token: u64, outcome: Outcome) {
        match outcome {
            Outcome::Ack => self.acks.push(token),
            Outcome::Nack { delay_ms, reason } => match self.nacks.last_mut() {
                Some(last)
                    if last.delay_ms == delay_ms
                        && last.reason == reason
                        && last.tokens.len() < TOKENS_MAX =>
                {
                    last.tokens.push(token);
                }
                _ => self.nacks.push(Nack { tokens: vec![token], delay_ms, reason }),
            },
            Outcome::Reject { reason } => match self.rejects.last_mut() {
                Some(last) if last.reason == reason && last.tokens.len() < TOKENS_MAX => {
                    last.tokens.push(token);
                }
                _ => self.rejects.push(Reject { tokens: vec![token], reason }),
            },
            Outcome::Extend => return self.extensions.push(token),
            Outcome::Dropped => {}
        }
        self.credit = self.credit.saturating_add(1);
    }

    /// Writes all of it, outcomes first: the server then frees what the credit allows anew.
    pub(crate) fn write(&mut self, out: &mut FrameBuffer) -> Result<(), FrameError> {
        for tokens in self.acks.chunks(TOKENS_MAX) {
            out.push(&Frame::Ack(Tokens { tokens: tokens.to_vec() }))?;
        }
        for tokens in self.extensions.chunks(TOKENS_MAX) {
            out.push(&Frame::Extend(Tokens { tokens: tokens.to_vec() }))?;
        }
        for nack in self.nacks.drain(..) {
            out.push(&Frame::Nack(nack))?;
        }
        for reject in self.rejects.drain(..) {
            out.push(&Frame::Reject(reject))?;
        }
        if self.credit > 0 {
            out.push(&Frame::Credit(Credit { deliveries: self.credit }))?;
        }
        *self = Self::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventail_wire::frame::FrameDecoder;

    fn written(outbox: &mut Outbox) -> Vec<Frame> {
        let mut out = FrameBuffer::new();
        outbox.write(&mut out).unwrap();
        let mut decoder = FrameDecoder::new(1 << 20);
        decoder.extend(out.pieces());
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }

    fn nack(delay_ms: u64) -> Outcome {
        Outcome::Nack { delay_ms: Some(delay_ms), reason: "busy".to_owned() }
    }

    #[test]
    fn outcomes_of_a_kind_share_a_frame_and_each_gives_credit_back() {
        let mut outbox = Outbox::default();
        outbox.add(1, Outcome::Ack);
        outbox.add(2, nack(5));
        outbox.add(3, Outcome::Ack);
        outbox.add(4, nack(5));
        outbox.add(5, nack(6));
        outbox.add(6, Outcome::Reject { reason: "no".to_owned() });
        outbox.add(7, Outcome::Extend);
        outbox.add(8, Outcome::Dropped);
        let nack = |tokens: &[u64], delay_ms| {
            Frame::Nack(Nack { tokens: tokens.to_vec(), delay_ms: Some(delay_ms), reason: "busy".to_owned() })
        };
        assert_eq!(
            written(&mut outbox),
            [
                Frame::Ack(Tokens { tokens: vec![1, 3] }),
                Frame::Extend(Tokens { tokens: vec![7] }),
                nack(&[2, 4], 5),
                nack(&[5], 6),
                Frame::Reject(Reject { tokens: vec![6], reason: "no".to_owned() }),
                Frame::Credit(Credit { deliveries: 7 }),
            ]
        );
        assert_eq!(written(&mut outbox), []);
    }

    #[test]
    fn many_tokens_become_frames_that_fit() {
        let mut outbox = Outbox::default();
        (0..20_000).for_each(|token| outbox.add(u64::MAX - token, Outcome::Ack));
        assert_eq!(written(&mut outbox).len(), 4);
    }
}
