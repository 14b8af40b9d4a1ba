//! Fan-out and fan-in: many steps at once, then one result from all of theirs.
//!
//! Run it with `cargo run -p perdura-examples --bin fan_out`.

use perdura::prelude::*;

/// Calls under way at once. All of a million at once would work too, up to the limits of history and turn; a bound
/// keeps both small, and is kind to whatever the activities call.
pub const AT_ONCE: usize = 100;

/// One step.
#[activity]
pub async fn count_words(page: String) -> Result<u64> {
    Ok(page.split_whitespace().count() as u64)
}

/// Many steps at once, and their sum.
#[orchestration]
pub async fn count_book(ctx: Orchestration, pages: Vec<String>) -> Result<u64> {
    let mut words = 0;
    for some in pages.chunks(AT_ONCE) {
        let calls = some.iter().map(|page| ctx.call(count_words, page.clone()).retry(Retry::attempts(3)));
        // Results come in the order of the calls, whichever was done first. A call that failed for good is an error in
        // its place; here the first one fails the whole.
        for count in join_all(calls).await {
            words += count?;
        }
        ctx.set_status(&words)?;
    }
    Ok(words)
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("fan_out.db").register(count_book).register(count_words).start().await?;
    let pages = (0..250).map(|page| format!("this is page {page}")).collect();
    println!("{} words", engine.run(count_book, pages).await?);
    engine.shutdown().await;
    Ok(())
}
