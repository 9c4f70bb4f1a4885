//! Writes the stories and their tokenizer into `data/` anew, or into the folder named
//! on the command line.

use std::path::PathBuf;

use anyhow::Result;

fn main() -> Result<()> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or(data.into()));
    let (bytes, vocabulary) = stories::write(&folder)?;
    println!(
        "wrote {} stories ({bytes} bytes) and a tokenizer of {vocabulary} tokens to {}",
        stories::STORIES,
        folder.display()
    );
    Ok(())
}
