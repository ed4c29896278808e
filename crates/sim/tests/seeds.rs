//! Seeds pass, seeds repeat, and what is wrong on purpose is noticed.

use admit_sim::{Rule, Sabotage, run, run_sabotaged};

/// Seeds of the quick run; `cargo xtask sim` runs many more.
const SEEDS: u64 = 300;

#[test]
fn every_seed_keeps_every_rule() {
    let mut grants = 0;
    for seed in 0..SEEDS {
        match run(seed) {
            Ok(counts) => grants += counts.grants,
            Err(failure) => panic!(
                "seed {seed} breaks {:?}: {}\nto see it again: cargo xtask sim --from {seed} --seeds 1",
                failure.violation.rule, failure.violation.what
            ),
        }
    }
    assert!(grants > SEEDS, "a world in which nothing is granted shows nothing: {grants} grants");
}

#[test]
fn a_seed_means_the_same_run_every_time() {
    for seed in 0..20 {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap(), "seed {seed}");
    }
}

/// The first seed that notices, and by which rule; within as many seeds as `SEEDS`.
fn noticed(sabotage: Sabotage) -> (u64, Rule) {
    (0..SEEDS)
        .find_map(|seed| {
            run_sabotaged(seed, Some(sabotage)).err().map(|failure| (seed, failure.violation.rule))
        })
        .unwrap_or_else(|| panic!("{SEEDS} seeds do not notice {sabotage:?}"))
}

#[test]
fn a_store_that_acknowledges_what_is_only_in_memory_is_noticed() {
    assert_eq!(noticed(Sabotage::NoSync).1, Rule::Acknowledged);
}

#[test]
fn a_store_that_drops_what_it_acknowledged_is_noticed() {
    // Where the record was told to nobody, the next one finds that it is missing.
    let (_, rule) = noticed(Sabotage::LosesCommit);
    assert!(matches!(rule, Rule::Acknowledged | Rule::Service), "{rule:?}");
}

#[test]
fn a_store_that_truncates_too_much_is_noticed() {
    assert_eq!(noticed(Sabotage::TruncatesTooMuch).1, Rule::Recovery);
}

#[test]
fn an_outage_that_expires_those_who_could_not_renew_is_noticed() {
    assert_eq!(noticed(Sabotage::NoOutageRule).1, Rule::Outage);
}

#[test]
fn leases_that_end_early_because_somebody_set_the_clock_are_noticed() {
    let (_, rule) = noticed(Sabotage::MonotonicSteps);
    assert!(matches!(rule, Rule::Believed | Rule::Outage), "{rule:?}");
}

#[test]
fn answers_before_the_commit_are_noticed() {
    assert_eq!(noticed(Sabotage::AnswersEarly).1, Rule::Acknowledged);
}

#[test]
fn an_append_in_the_place_of_what_others_appended_is_noticed() {
    assert_eq!(noticed(Sabotage::Conflicts).1, Rule::Acknowledged);
}

#[test]
fn a_log_that_is_another_one_without_a_word_is_noticed() {
    let (_, rule) = noticed(Sabotage::HidesRewrites);
    assert!(matches!(rule, Rule::Service | Rule::SameState | Rule::Acknowledged), "{rule:?}");
}

#[test]
fn an_answer_before_the_flush_of_its_own_record_is_noticed() {
    assert_eq!(noticed(Sabotage::AcknowledgesBeforeFlush).1, Rule::Acknowledged);
}

#[test]
fn an_answer_before_the_flush_of_what_others_wrote_is_noticed() {
    assert_eq!(noticed(Sabotage::AnswersBeforeFlush).1, Rule::Acknowledged);
}

#[test]
fn a_copy_that_gives_the_tokens_of_its_original_is_noticed() {
    assert_eq!(noticed(Sabotage::HidesCopies).1, Rule::Tokens);
}

#[test]
fn a_read_that_does_not_see_what_another_node_acknowledged_is_noticed() {
    assert_eq!(noticed(Sabotage::StaleReads).1, Rule::Reads);
}
