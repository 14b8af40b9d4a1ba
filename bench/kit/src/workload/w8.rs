//! W8: killed with 1,000 in flight, and started again.

use super::PATIENCE;
use crate::{
    Meter, Options, Outcome, Peer, Report, Work, activities_run, check, closed_loop, payload, round, sys,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const STEPS: u64 = 5;
const WAITERS: u64 = 64;
/// How long one instance may take after the restart before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(180);

/// Notes each acknowledged start in the file that `ACKS` names; kills everything when `count` have completed.
pub async fn load<P: Peer>(options: &Options, peer: Arc<P>) -> Outcome<()> {
    let (in_flight, kill_at) = (options.concurrency.unwrap_or(1000), options.count.unwrap_or(500));
    let path = std::env::var("ACKS").map_err(|_| "ACKS must name a file")?;
    let acks = Arc::new(Mutex::new(BufWriter::new(File::create(path).map_err(|why| why.to_string())?)));
    let completed = Arc::new(AtomicU64::new(0));
    closed_loop(u64::MAX, in_flight, PATIENCE, move |i| {
        let (peer, acks, completed) = (peer.clone(), acks.clone(), completed.clone());
        async move {
            let id = format!("w8-{i}");
            peer.start(Work::Sequence, &id, payload(STEPS)).await?;
            note(&acks, &id)?;
            check(&peer.wait(Work::Sequence, &id).await?, STEPS - 1)?;
            if completed.fetch_add(1, Relaxed) + 1 == kill_at {
                let mut acks = acks.lock().map_err(|why| why.to_string())?;
                acks.flush().map_err(|why| why.to_string())?;
                sys::kill_everything();
            }
            Ok(())
        }
    })
    .await;
    Err("it ended before it was killed".into())
}

fn note(acks: &Mutex<BufWriter<File>>, id: &str) -> Outcome<()> {
    let mut acks = acks.lock().map_err(|why| why.to_string())?;
    writeln!(acks, "{id}").map_err(|why| why.to_string())
}

/// The ids whose start was acknowledged.
fn acknowledged() -> Outcome<Vec<String>> {
    let path = std::env::var("ACKS").map_err(|_| "ACKS must name a file")?;
    let text = std::fs::read_to_string(path).map_err(|why| why.to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Waits for all that were acknowledged; says how long it took since the process began, and how many are lost.
pub async fn recover<P: Peer>(options: &Options, peer: Arc<P>, report: &Report) -> Outcome<()> {
    report.result("w8", &[wait_for_all(options, peer).await?]);
    Ok(())
}

/// The same, for a harness that has more to say.
pub async fn wait_for_all<P: Peer>(options: &Options, peer: Arc<P>) -> Outcome<Value> {
    let ids = Arc::new(acknowledged()?);
    let (count, meter) = (ids.len() as u64, Meter::begin());
    let (completed, lost) = closed_loop(count, WAITERS, PATIENCE, move |i| {
        let (peer, ids) = (peer.clone(), ids.clone());
        async move {
            let id = &ids[i as usize];
            match tokio::time::timeout(LOST_AFTER, peer.wait(Work::Sequence, id)).await {
                Ok(output) => check(&output?, STEPS - 1),
                Err(_) => Err(format!("{id} is lost")),
            }
        }
    })
    .await;
    let mut result = json!({
        "acknowledged": count,
        "completed": completed.len(),
        "lost_or_wrong": lost,
        "activities_after_restart": activities_run(),
        "server_restart_s": std::env::var("RESTART_S").ok().and_then(|s| s.parse::<f64>().ok()),
        "recover_s": round(options.began.elapsed().as_secs_f64()),
    });
    if let (Value::Object(result), Value::Object(cost)) = (&mut result, meter.read()) {
        result.extend(cost);
    }
    Ok(result)
}
