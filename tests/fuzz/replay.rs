//! Every input of every corpus, as libFuzzer would give it.

use std::panic;

#[test]
fn no_input_of_the_corpora_finds_anything() {
    let mut inputs = 0;
    for (name, run) in lb_fuzz::TARGETS {
        let corpus = lb_fuzz::corpus(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for input in &corpus {
            let found = panic::catch_unwind(|| run(input));
            assert!(
                matches!(found, Ok(Ok(()))),
                "{name}: {found:?} with {:?}",
                String::from_utf8_lossy(input)
            );
        }
        inputs += corpus.len();
        // Nor does nothing, or less than there was.
        for input in corpus.iter().filter(|input| input.len() < 2_000) {
            for end in 0..input.len().min(64) {
                let found = run(input.get(..end).unwrap_or_default());
                assert_eq!(found, Ok(()), "{name}: the first {end} of {input:?}");
            }
        }
    }
    println!("{inputs} inputs");
}
