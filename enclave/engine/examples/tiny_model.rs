//! Writes a tiny random model of one family: `cargo run --example tiny_model -- FAMILY FILE`.

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(family), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tiny_model FAMILY FILE".into());
    };
    let model = engine::tiny::family(&family).ok_or("no such family")?;
    Ok(std::fs::write(file, model)?)
}
