//! A hub with orders, some of which failed, and the command.

use crate::perdura::{Said, perdura, run};
use perdura::Registry;
use perdura::prelude::*;
use perdura_server::{Server, ServerOptions};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Whether the bank is up.
struct Bank(bool);

#[activity]
async fn reserve(item: String) -> Result<String> {
    Ok(format!("{item} is reserved"))
}

#[activity]
async fn charge(ctx: ActivityContext, item: String) -> Result<String> {
    match ctx.data::<Bank>() {
        Bank(true) => Ok(format!("{item} is paid")),
        Bank(false) => Err(Error::new("bank.Down", "no route to host")),
    }
}

#[orchestration]
pub async fn order(ctx: Orchestration, item: String) -> Result<String> {
    let reserved = ctx.call(reserve, item.clone()).await?;
    Ok(format!("{reserved}, {}", ctx.call(charge, item).await?))
}

#[orchestration]
pub async fn waits(ctx: Orchestration) -> Result<String> {
    ctx.wait_event("go").await
}

/// Ends like one whose activity has cost ten workers.
#[orchestration]
pub async fn poisoned(_: Orchestration) -> Result<String> {
    Err(Error::new(perdura::failure::kind::WORKER_LOST, "10 workers were lost"))
}

#[orchestration]
pub async fn parent(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(order, "a pen".into()).id("child").await
}

#[orchestration]
pub async fn grandparent(ctx: Orchestration) -> Result<String> {
    ctx.sub_orchestration(parent, ()).id("p").await
}

/// What runs, with the bank up or down.
pub fn orders(is_up: bool) -> Registry {
    let registry = Registry::new().data(Bank(is_up)).register(order).register(waits).register(parent);
    let registry = registry.register(grandparent);
    registry.register(reserve).register(charge).register(poisoned)
}

/// Where the hub is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    File,
    Server,
}

pub struct Bed {
    pub dir: TempDir,
    server: Option<Server>,
}

impl Bed {
    /// A hub in a directory of its own, on which a program has run that did this.
    pub async fn after(program: impl AsyncFnOnce(&Engine)) -> Bed {
        let bed = Bed { dir: TempDir::new().unwrap(), server: None };
        bed.with_engine(false, program).await;
        bed
    }

    /// Orders that failed.
    pub async fn failed_orders(ids: &[&str]) -> Bed {
        Bed::after(async |engine: &Engine| {
            for id in ids {
                let start = engine.start(order, "a book".into()).id(*id).tag("shop", "books");
                start.await.unwrap().wait().await.unwrap_err();
            }
        })
        .await
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("default.db")
    }

    /// The program runs, with the bank up or down.
    pub async fn with_engine(&self, is_up: bool, program: impl AsyncFnOnce(&Engine)) {
        let engine = Engine::sqlite(self.file());
        let engine = engine.registry(orders(is_up)).start().await.unwrap();
        program(&engine).await;
        engine.shutdown().await;
    }

    /// From here on the hub is there.
    pub async fn at(mut self, place: Place) -> Bed {
        if place == Place::Server {
            let mut options = ServerOptions::new(self.dir.path());
            options.listen = vec!["127.0.0.1:0".parse().unwrap()];
            self.server = Some(Server::start(options).await.unwrap());
        }
        self
    }

    /// The file is free again.
    pub async fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
    }

    /// Where the server is.
    pub fn url(&self) -> Option<String> {
        Some(format!("http://{}", self.server.as_ref()?.addresses()[0]))
    }

    /// The command for the hub.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = perdura();
        command.arg(verb).env_remove("USER").env_remove("PERDURA_TOKEN");
        match self.url() {
            Some(url) => command.args(["--server", &url]),
            None => command.arg(self.file()),
        };
        command
    }

    /// What the command says.
    pub async fn said(&self, verb: &str, args: &[&str]) -> Said {
        let mut command = self.command(verb);
        command.args(args);
        tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap()
    }

    /// What it prints when all goes well.
    pub async fn shown(&self, verb: &str, args: &[&str]) -> String {
        let said = self.said(verb, args).await;
        assert_eq!((said.code, &said.err[..]), (0, ""), "{verb} {args:?}: {}", said.out);
        said.out
    }

    /// The same as objects.
    pub async fn json(&self, verb: &str, args: &[&str]) -> Vec<Value> {
        let shown = self.shown(verb, &[args, &["--json"]].concat()).await;
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What is said when it is refused.
    pub async fn refused(&self, verb: &str, args: &[&str]) -> String {
        let said = self.said(verb, args).await;
        assert_ne!(said.code, 0, "{verb} {args:?}: {}", said.out);
        format!("{}{}", said.err, said.out)
    }

    /// The names of the statuses of some instances.
    pub async fn statuses(&self, ids: &[&str]) -> Vec<String> {
        let mut statuses = Vec::new();
        for id in ids {
            let file = self.file();
            let inspected = run(perdura().arg("inspect").arg(file).args([*id, "--json"]));
            let line = inspected.out.lines().next().map(|line| serde_json::from_str::<Value>(line).unwrap());
            statuses.push(line.map_or("gone".into(), |line| line["status"].as_str().unwrap().to_owned()));
        }
        statuses
    }
}

/// Runs each test on a file and on a server.
#[macro_export]
macro_rules! in_every_place {
    ($($name:ident,)*) => {
        mod on_a_file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::operate::bed::Place::File).await; })*
        }
        mod on_a_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::operate::bed::Place::Server).await; })*
        }
    };
}
