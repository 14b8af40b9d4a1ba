//! The process that is killed: an engine on a hub file that does what it is told, line by line, and says only what it
//! was told itself.

use perdura_core::history::EventKind;
use perdura_core::partition::{InstanceRecord, SignalRequest, StartRequest};
use perdura_core::{EntityId, InstanceId, Limits, ReusePolicy, Status};
use perdura_durability::{
    Answer, Ask, Audit, Command, EntityLook, Evidence, LoadOptions, Refusal, Reply, Reuse, TABLES, registry,
};
use perdura_engine::{Client, Engine, EngineError, EngineOptions};
use perdura_sqlite::{SqliteOptions, SqliteStore};
use perdura_store::{InstanceKind, InstanceQuery, Store};
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() {
    let options = std::env::args().nth(1).expect("the options, as JSON");
    let options: LoadOptions = serde_json::from_str(&options).expect("the options, as JSON");
    let engine = match start(options).await {
        Ok(engine) => engine,
        Err(error) => {
            say(&Reply { number: 0, outcome: Err(refusal(&error)) });
            std::process::exit(1);
        }
    };
    say(&Reply { number: 0, outcome: Ok(Answer::Ready) });
    let mut asks = read_asks();
    let client = Arc::new(Mutex::new(Some(engine.client())));
    let mut engine = Some(engine);
    while let Some(Ask { number, command }) = asks.recv().await {
        let clients = client.clone();
        if matches!(command, Command::Shutdown)
            && let Some(engine) = engine.take()
        {
            let mut ending = Box::pin(engine.shutdown());
            // Begun before the next command is taken, so that what comes later is late. It may have ended with that.
            let is_over = tokio::select! {
                biased;
                () = &mut ending => true,
                () = std::future::ready(()) => false,
            };
            tokio::spawn(async move {
                if !is_over {
                    ending.await;
                }
                // The last one that holds the store: its file is closed with it.
                clients.lock().expect("nobody panics with it").take();
                say(&Reply { number, outcome: Ok(Answer::Done) });
            });
            continue;
        }
        let client = client.lock().expect("nobody panics with it").clone();
        tokio::spawn(async move {
            let outcome = match client {
                Some(client) => answer(&client, command).await,
                None => Err(EngineError::ShuttingDown),
            };
            say(&Reply { number, outcome: outcome.map_err(|error| refusal(&error)) });
        });
    }
}

async fn start(options: LoadOptions) -> Result<Engine, EngineError> {
    let sqlite = SqliteOptions {
        partitions: options.partitions,
        file_bytes_max: options.file_bytes_max,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&options.hub, sqlite)?;
    if let Some(transactions) = store.transactions() {
        transactions.define(TABLES)?;
    }
    let evidence = Evidence::open(&options.evidence).map_err(|e| EngineError::System(e.to_string()))?;
    let limits = Limits {
        resident_instances_max: options.resident_instances_max,
        lost_workers_max: options.lost_workers_max,
        ..Limits::default()
    };
    let registry = Arc::new(registry(evidence).limits(limits.clone()));
    let options = EngineOptions {
        drain_time_max: Duration::from_millis(options.drain_ms),
        limits,
        ..EngineOptions::default()
    };
    Engine::start(
        Arc::new(store),
        perdura_engine::Hosts {
            orchestrations: registry.clone(),
            activities: registry.clone(),
            entities: registry,
        },
        options,
    )
    .await
}

/// The lines of the standard input. When it ends, whoever started this process is gone.
fn read_asks() -> mpsc::Receiver<Ask> {
    let (sender, asks) = mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let ask = serde_json::from_str(&line).expect("an ask, as JSON");
            if sender.blocking_send(ask).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    asks
}

fn say(reply: &Reply) {
    let mut line = serde_json::to_vec(reply).expect("replies serialize");
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // If nobody reads any more, nobody misses it.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

fn refusal(error: &EngineError) -> Refusal {
    let kind = format!("{error:?}");
    let kind = kind.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    Refusal { kind, text: error.to_string() }
}

async fn answer(client: &Client, command: Command) -> Result<Answer, EngineError> {
    let reason = "the test asked for it".to_owned();
    let done = match command {
        Command::Start { id, program, reuse, request } => {
            let started = client
                .start(StartRequest {
                    id: InstanceId::new(&id)?,
                    fresh: false,
                    name: "carry_out".into(),
                    version: String::new(),
                    input: Some(serde_json::to_vec(&program).expect("programs serialize").into()),
                    tags: Default::default(),
                    start_at: None,
                    reuse: match reuse {
                        Reuse::Fail => ReusePolicy::FAIL,
                        Reuse::UseExisting => ReusePolicy::USE_EXISTING,
                        Reuse::Replace => ReusePolicy::REPLACE,
                    },
                    request_id: request,
                    execution: None,
                    trace: None,
                })
                .await?;
            return Ok(Answer::Started {
                outcome: started.outcome.to_string(),
                generation: started.generation,
                execution: started.execution.to_string(),
            });
        }
        Command::Raise { id, value } => {
            let value = serde_json::to_vec(&value).expect("strings serialize");
            client.raise_event(InstanceId::new(&id)?, "e".into(), Some(value.into())).await
        }
        Command::Signal { entity, operation, value, request } => {
            let input = serde_json::to_vec(&value).expect("numbers serialize");
            let signal = SignalRequest {
                to: EntityId::parse(&entity)?,
                operation,
                input: Some(input.into()),
                at: None,
                request_id: request,
                stamp: None,
            };
            client.signal(signal).await
        }
        Command::Entities => {
            let all = InstanceQuery { kind: InstanceKind::Entity, ..InstanceQuery::default() };
            let found = client.list(all, usize::MAX).await?;
            return Ok(Answer::Entities(
                found.into_iter().filter_map(|listed| entity(listed.record)).collect(),
            ));
        }
        Command::Wait { id } => return Ok(instance(&client.wait(InstanceId::new(&id)?, None).await?)),
        Command::Suspend { id } => client.suspend(InstanceId::new(&id)?, reason).await,
        Command::Resume { id } => client.resume(InstanceId::new(&id)?, reason).await,
        Command::Terminate { id } => client.terminate(InstanceId::new(&id)?, reason, true).await,
        Command::Purge { id } => client.purge(InstanceId::new(&id)?).await,
        Command::Look { id } => {
            let record = client.get(&InstanceId::new(&id)?).await?;
            return Ok(record.map_or(Answer::Nothing, |record| instance(&record)));
        }
        Command::Audit { id } => {
            let history = client.history(&InstanceId::new(&id)?).await?;
            return Ok(history.map_or(Answer::Nothing, |events| {
                Answer::Audited(audit(events.into_iter().map(|event| event.kind)))
            }));
        }
        Command::Shutdown => Err(EngineError::ShuttingDown),
    };
    done.map(|()| Answer::Done)
}

fn instance(record: &InstanceRecord) -> Answer {
    let failure = record.failure.as_ref().map(ToString::to_string);
    let block = record.block.as_ref().map(|block| block.reason.clone());
    Answer::Instance {
        status: record.status().map_or("unknown", Status::name).to_owned(),
        generation: record.generation,
        start_generation: record.start_generation,
        output: record.output.as_deref().and_then(|output| serde_json::from_slice(output).ok()),
        problem: failure.or(block),
    }
}

fn entity(record: InstanceRecord) -> Option<EntityLook> {
    let id = record.id;
    let entity = record.entity?;
    Some(EntityLook {
        id,
        state: entity.state.and_then(|state| serde_json::from_slice(&state).ok()),
        backlog: entity.queue.len() + entity.delayed.len(),
        locked_by: entity.lock.map(|lock| lock.holder.map(|holder| holder.instance).unwrap_or_default()),
    })
}

fn audit(events: impl Iterator<Item = EventKind>) -> Audit {
    let mut audit = Audit::default();
    for event in events {
        if audit.first.is_empty() {
            audit.first = event.name().to_owned();
        }
        audit.last = event.name().to_owned();
        match event {
            EventKind::ExecutionCompleted(_) => audit.ends += 1,
            EventKind::TaskScheduled(task) => audit.asked.push(task.id),
            EventKind::TimerCreated(timer) => audit.asked.push(timer.id),
            EventKind::SubOrchestrationScheduled(child) => audit.asked.push(child.id),
            EventKind::TaskCompleted(task) => audit.answered.push(task.id),
            EventKind::TaskFailed(task) => audit.answered.push(task.id),
            EventKind::TimerFired(timer) => audit.answered.push(timer.id),
            EventKind::SubOrchestrationCompleted(child) => audit.answered.push(child.id),
            EventKind::SubOrchestrationFailed(child) => audit.answered.push(child.id),
            EventKind::EventRaised(event) if event.name == "e" => {
                let value = event.input.as_deref().and_then(|value| serde_json::from_slice(value).ok());
                audit.raised.extend(value);
            }
            _ => {}
        }
    }
    audit
}
