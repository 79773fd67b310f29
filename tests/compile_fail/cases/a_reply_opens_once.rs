//! One response per request: the keys are gone after the first.
fn open_twice(pending: seal::PendingResponse) {
    let _first = pending.open();
    let _second = pending.open();
}

fn main() {}
