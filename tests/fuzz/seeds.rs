//! Writes the inputs to start from: `seeds CORPUS` fills `CORPUS/<target>/`, and prints the targets' names.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let corpus = env::args().nth(1).ok_or_else(|| io::Error::other("usage: seeds CORPUS"))?;
    for target in parsers::TARGETS {
        let folder = Path::new(&corpus).join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
        println!("{}", target.name);
    }
    Ok(())
}
