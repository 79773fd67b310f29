//! The inputs to start from: every target writes its own into its corpus before the fuzzer reads that.

use std::{env, fs, path::PathBuf};

/// Plants a target's seeds in the corpus that the command line names last, if it names one.
pub fn plant(name: &str) {
    let Some(corpus) = env::args_os().next_back().map(PathBuf::from).filter(|path| path.is_dir())
    else {
        return;
    };
    for target in parsers::TARGETS.iter().filter(|target| target.name == name) {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)
                .expect("the corpus can be written");
        }
    }
}
