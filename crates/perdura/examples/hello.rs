//! The whole of a durable program. Run it with `cargo run -p perdura --example hello`.

use perdura::prelude::*;

#[activity]
async fn greet(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[orchestration]
async fn hello(ctx: Orchestration, name: String) -> Result<String> {
    ctx.call(greet, name).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("hello.db").register(hello).register(greet).start().await?;
    println!("{}", engine.run(hello, "world".into()).await?);
    engine.shutdown().await;
    Ok(())
}
