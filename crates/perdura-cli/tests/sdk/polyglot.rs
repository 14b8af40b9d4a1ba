//! Workers in several languages at once, which call one another by name.

use super::process::{Program, Server};
use perdura::prelude::*;
use perdura::{ActivityName, OrchestrationName, Registry};
use perdura_remote::Connection;

static REPORT: OrchestrationName<Vec<String>, String> = OrchestrationName::new("report");
static DOUBLE: ActivityName<usize, usize> = ActivityName::new("double");

#[activity]
async fn count_letters(word: String) -> Result<usize> {
    Ok(word.chars().count())
}

#[orchestration]
async fn doubled(ctx: Orchestration, n: usize) -> Result<usize> {
    ctx.call(&DOUBLE, n).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Python and JavaScript SDKs: scripts/python-sdk, scripts/javascript-sdk, then --ignored"]
async fn workers_in_three_languages_call_one_another() {
    let server = Server::new();
    let _python =
        Program::python("crates/perdura-cli/tests/sdk/programs/polyglot.py").arg(server.address()).spawn();
    let _javascript = Program::javascript("crates/perdura-cli/tests/sdk/programs/polyglot.cjs")
        .arg(server.address())
        .spawn();
    let connection = Connection::new(&format!("http://{}", server.address())).unwrap();
    let registry = Registry::new().register(count_letters).register(doubled);
    let worker = connection.worker(registry).start().await.unwrap();
    let started = connection.client().start(&REPORT, vec!["drei".into(), "Köpfe".into()]).await.unwrap();
    assert_eq!(started.wait().await.unwrap(), "DREI KÖPFE! 18");
    worker.shutdown().await;
}
