//! Some thousand seeds. More are run by `perdura-simulate`.

use perdura_sim::{Options, run};

#[test]
fn every_invariant_holds() {
    let seeds = if cfg!(debug_assertions) { 500 } else { 10_000 };
    let report = run(&Options { seeds, threads: 2, ..Options::default() });
    assert!(report.is_clean(), "{report}");
}
