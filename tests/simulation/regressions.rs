//! Seeds that failed once, under the name of what they showed.

use crate::assert_holds;

#[test]
fn a_power_cut_after_the_first_start_takes_no_data_folder_away() {
    for seed in [2, 18, 40] {
        assert_holds(seed);
    }
}

#[test]
fn a_replay_whose_last_events_are_not_wanted_ends() {
    for seed in [910, 3072, 3431, 4194] {
        assert_holds(seed);
    }
}

#[test]
fn an_internal_log_that_refuses_makes_the_broker_unready() {
    for seed in [677, 1413, 2584] {
        assert_holds(seed);
    }
}
