//! Records of the settlements' journal, and the states of deliveries that they come to.

use eventail_broker::fuzzing;
use eventail_triggers::policy::DeliveryPolicy;
use eventail_triggers::subscription::Subscription;
use eventail_wire::{Offset, Timestamp};

/// Records of the journal, each behind its length in two bytes. Whatever can be read is a state that a subscription goes on from,
/// and that state is the same once it was restored.
pub fn settlements(input: &[u8]) {
    let mut records = Vec::new();
    let mut rest = input;
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let (record, more) = more.split_at(usize::from(u16::from_le_bytes(*length)).min(more.len()));
        records.push(record);
        rest = more;
    }
    for snapshot in fuzzing::settlements(&records) {
        let restored = Subscription::restore(DeliveryPolicy::default(), snapshot, 1);
        let first = restored.snapshot();
        let mut again = Subscription::restore(DeliveryPolicy::default(), first.clone(), 2);
        assert_eq!(again.snapshot(), first, "a restart changed something");
        let mut leases = Vec::new();
        again.lease(Timestamp(1_800_000_000_000), 16, &mut leases);
        assert!(leases.is_empty(), "nothing was offered yet");
        let mut cut = first;
        cut.cut(Offset(10));
        assert!(!cut.cut(Offset(10)), "what was cut off is still there");
    }
}
