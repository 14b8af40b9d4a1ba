//! Which instances a command is for: one, or those that a filter matches.

use super::time::time;
use anyhow::{bail, ensure};
use clap::Args;
use perdura_proto::operator::{Selection, Target, target};
use prost_types::Timestamp as WireTime;

/// A filter. All conditions have to be met.
#[derive(Args, Debug)]
#[command(next_help_heading = "Many instances")]
pub struct SelectOptions {
    /// In this status: pending, running, suspended, completed, failed, canceled, terminated
    #[arg(long)]
    status: Vec<String>,
    /// Of this orchestration
    #[arg(long)]
    name: Option<String>,
    /// With an id that begins so
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// With a failure of this type, or with this in its message
    #[arg(long, value_name = "TYPE | TEXT")]
    error: Option<String>,
    /// Dead letters: suspended or failed because too many workers or processes were lost to them
    #[arg(long)]
    dead_letter: bool,
    /// With this tag
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// Started then or later: a time, or 2h for that long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<WireTime>,
    /// Started before
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<WireTime>,
    /// Ended before
    #[arg(long, value_name = "TIME", value_parser = time)]
    ended_before: Option<WireTime>,
    /// Every one: there is no condition but the status
    #[arg(long)]
    all: bool,
    /// At most so many, the oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// At most so many in a second
    #[arg(long, value_name = "COUNT")]
    rate: Option<u32>,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl SelectOptions {
    /// The filter alone.
    pub fn selection(&self) -> Selection {
        Selection {
            statuses: self.status.clone(),
            name: self.name.clone().unwrap_or_default(),
            id_prefix: self.id_prefix.clone().unwrap_or_default(),
            error: self.error.clone().unwrap_or_default(),
            dead_letter: self.dead_letter,
            tags: self.tag.iter().cloned().collect(),
            created_from: self.since,
            created_before: self.until,
            ended_before: self.ended_before,
            all: self.all,
            limit: self.limit.unwrap_or(0),
            per_second: self.rate.unwrap_or(0),
        }
    }

    pub fn check(&self) -> anyhow::Result<()> {
        for (option, number) in [("--limit", self.limit), ("--rate", self.rate.map(u64::from))] {
            ensure!(number != Some(0), "{option} 0 would do nothing; leave it out to have no limit");
        }
        Ok(())
    }

    /// What the command is for; an instance and a filter exclude each other.
    pub fn target(&self, instance: Option<&str>) -> anyhow::Result<Target> {
        self.check()?;
        let selection = self.selection();
        let is_empty = selection == Selection::default();
        let target = match instance {
            Some(instance) if is_empty => target::Target::Instance(instance.to_owned()),
            Some(instance) => bail!("either the instance {instance:?} or a filter, not both"),
            None if is_empty => bail!("name an instance, or a filter; --all for every instance"),
            None => target::Target::Selection(selection),
        };
        Ok(Target { target: Some(target) })
    }
}
