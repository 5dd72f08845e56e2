//! Seeds that failed once, under the name of what they showed.

use crate::assert_holds;

#[test]
fn a_power_cut_after_the_first_start_takes_no_data_folder_away() {
    for seed in [2, 18, 40] {
        assert_holds(seed);
    }
}
