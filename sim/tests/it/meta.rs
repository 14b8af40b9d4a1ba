//! A seed is the whole run.

use perdura_sim::run_seed;

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for seed in 0..300 {
        let (first, second) = (run_seed(seed, None, false), run_seed(seed, None, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.stats.events, second.stats.events, "seed {seed}");
    }
}
