//! The service for operators: rewinds, and what else is done to instances by hand. It works for the hubs of a server, and
//! for a single one that no engine serves.

mod report;
mod request;

use crate::convert::time::time_out;
use crate::hub::{Hub, Hubs};
use crate::service::{instance_id, known_hub_of, refusal};
use futures_util::{Stream, StreamExt, stream};
use perdura_core::history::Event;
use perdura_core::partition::RequestError;
use perdura_core::rewind::difference;
use perdura_core::{EntityId, InstanceId};
use perdura_engine::{Act, Batch, BatchItem, Bulk, Client, Workers};
use perdura_proto::operator::operator_server::{Operator, OperatorServer};
use perdura_proto::operator::*;
use report::{What, branch_out, event_out, instance_out, item_out, return_out};
use request::{bulk_in, rewind_in, selection_in};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// Reports that may wait for a client that reads slowly; the batch waits then.
const REPORTS_MAX: usize = 128;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// See the module.
#[derive(Clone)]
pub struct OperatorService(Place);

#[derive(Clone)]
enum Place {
    Hubs(Arc<Hubs>),
    AtRest(Client),
}

/// The hub of a call.
struct Desk {
    client: Client,
    hub: Option<Arc<Hub>>,
}

impl OperatorService {
    pub(crate) fn of_hubs(hubs: Arc<Hubs>) -> OperatorServer<OperatorService> {
        OperatorServer::new(OperatorService(Place::Hubs(hubs)))
    }

    /// The service for a hub that no engine serves. What is asked is recorded, and happens when an engine is started.
    #[must_use]
    pub fn at_rest(client: Client) -> OperatorServer<OperatorService> {
        OperatorServer::new(OperatorService(Place::AtRest(client)))
    }

    async fn desk(&self, metadata: &MetadataMap) -> Result<Desk, Status> {
        Ok(match &self.0 {
            Place::AtRest(client) => Desk { client: client.clone(), hub: None },
            Place::Hubs(hubs) => {
                let hub = known_hub_of(hubs, metadata).await?;
                Desk { client: hub.client.clone(), hub: Some(hub) }
            }
        })
    }
}

impl Desk {
    /// One instance, or a selection of which each instance has a report.
    async fn run(
        self,
        target: Option<Target>,
        act: Act,
        dry_run: bool,
        canaries: (u32, u32),
    ) -> Result<Response<Messages<Report>>, Status> {
        let nothing = || Status::invalid_argument("no target: name an instance, or a selection");
        match target.and_then(|target| target.target).ok_or_else(nothing)? {
            target::Target::Instance(id) => {
                // An entity that is blocked is resumed like an instance.
                let id = match &act {
                    Act::Bulk(Bulk::Resume { .. }) => instance_or_entity(&id)?,
                    _ => instance_id(&id)?,
                };
                self.one(id, act, dry_run).await
            }
            target::Target::Selection(selection) => {
                let (select, per_second) = selection_in(selection)?;
                let mut batch = Batch { per_second, dry_run, ..Batch::new(select, act) };
                batch.canaries = canaries.0 as usize;
                if canaries.1 > 0 {
                    batch.canaries_wait_max = std::time::Duration::from_secs(canaries.1.into());
                }
                Ok(Response::new(self.many(batch).await?))
            }
        }
    }

    async fn one(
        self,
        id: InstanceId,
        act: Act,
        dry_run: bool,
    ) -> Result<Response<Messages<Report>>, Status> {
        let mut reports = Vec::new();
        let mut report = |item: &BatchItem| reports.push(item_out(&id, item));
        match act {
            Act::Rewind(mut spec) => {
                let plan = self.client.plan_rewind(&id, &spec).await.map_err(refusal)?;
                let head = plan.head;
                report(&BatchItem::Planned(Box::new(plan)));
                if !dry_run {
                    // What is done is what was shown.
                    spec.head.get_or_insert(head);
                    let rewound = self.client.rewind(id.clone(), *spec).await.map_err(refusal)?;
                    report(&BatchItem::Rewound(rewound));
                }
            }
            Act::Bulk(bulk) if dry_run => {
                self.client.check_control(&id, &bulk).await.map_err(refusal)?;
                report(&BatchItem::Would);
            }
            Act::Bulk(bulk) => {
                let done = self.client.control(id.clone(), &bulk).await.map_err(refusal)?;
                report(&BatchItem::Done(done));
            }
        }
        Ok(Response::new(Box::pin(stream::iter(reports.into_iter().map(Ok)))))
    }

    /// Ends when the client goes away.
    async fn many(self, batch: Batch) -> Result<Messages<Report>, Status> {
        let ids = self.client.batch_ids(&batch).await.map_err(refusal)?;
        let matched = without_instance(What::Matched(ids.len() as u64));
        let (items, done) = mpsc::channel(REPORTS_MAX);
        let run = tokio::spawn(async move { self.client.batch_into(&batch, &ids, items).await });
        let reports = stream::unfold(Some((done, run)), |state| async move {
            let (mut done, run) = state?;
            if let Some((id, item)) = done.recv().await {
                return Some((Ok(item_out(&id, &item)), Some((done, run))));
            }
            let end = match run.await {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(why))) => Ok(without_instance(What::Stopped(why))),
                Ok(Err(error)) => Err(refusal(error)),
                Err(error) => Err(Status::internal(error.to_string())),
            };
            Some((end, None))
        });
        Ok(Box::pin(stream::once(async { Ok(matched) }).chain(reports)))
    }

    async fn known(&self, id: &InstanceId) -> Result<perdura_core::partition::InstanceRecord, Status> {
        let record = self.client.get(id).await.map_err(refusal)?;
        record.ok_or_else(|| refusal(RequestError::NotFound { id: id.clone() }.into()))
    }

    async fn events(&self, id: &InstanceId, branch: u32) -> Result<Vec<Event>, Status> {
        let record = self.known(id).await?;
        let events = self.client.branch_history(id, branch).await.map_err(refusal)?;
        events.ok_or_else(|| {
            let last = record.branches().last().map_or(0, |branch| branch.branch);
            Status::not_found(format!("instance {id:?} has no branch {branch}; its branches are 0 to {last}"))
        })
    }
}

fn instance_or_entity(id: &str) -> Result<InstanceId, Status> {
    match id.starts_with('@') {
        true => {
            let entity = EntityId::parse(id).map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(entity.instance().clone())
        }
        false => instance_id(id),
    }
}

fn without_instance(what: What) -> Report {
    Report { instance: String::new(), what: Some(what) }
}

#[tonic::async_trait]
impl Operator for OperatorService {
    type RewindStream = Messages<Report>;
    type ControlStream = Messages<Report>;
    type ListStream = Messages<Instance>;
    type HistoryStream = Messages<HistoryEvent>;
    type DiffStream = Messages<DiffLine>;

    async fn rewind(&self, request: Request<RewindRequest>) -> Result<Response<Messages<Report>>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let request = request.into_inner();
        let (target, dry_run) = (request.target.clone(), request.dry_run);
        let canaries = (request.canaries, request.canary_seconds);
        let spec = rewind_in(request)?;
        desk.run(target, Act::Rewind(Box::new(spec)), dry_run, canaries).await
    }

    async fn control(&self, request: Request<ControlRequest>) -> Result<Response<Messages<Report>>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let request = request.into_inner();
        desk.run(request.target, Act::Bulk(bulk_in(request.act)?), request.dry_run, (0, 0)).await
    }

    async fn list(&self, request: Request<Selection>) -> Result<Response<Messages<Instance>>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let (select, _) = selection_in(request.into_inner())?;
        let found = desk.client.look_at(&select).await.map_err(refusal)?;
        let found = found.into_iter().map(|listed| Ok(instance_out(&listed.record)));
        Ok(Response::new(Box::pin(stream::iter(found))))
    }

    async fn why(&self, request: Request<InstanceRequest>) -> Result<Response<WhyResponse>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let id = instance_or_entity(&request.get_ref().instance)?;
        let workers = desk.hub.as_ref().map(|hub| &*hub.board as &dyn Workers);
        let waits = desk.client.why_with(&id, workers).await.map_err(refusal)?;
        let waits = waits.ok_or_else(|| refusal(RequestError::NotFound { id }.into()))?;
        let waits = waits.into_iter().map(|wait| Wait {
            what: wait.what,
            since: wait.since.map(time_out),
            who: wait.who,
            missing: wait.missing.unwrap_or_default(),
        });
        Ok(Response::new(WhyResponse { waits: waits.collect() }))
    }

    async fn branches(
        &self,
        request: Request<InstanceRequest>,
    ) -> Result<Response<BranchesResponse>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let record = desk.known(&instance_id(&request.get_ref().instance)?).await?;
        let returns = record.rewinds.iter().flat_map(|rewinds| &rewinds.returns);
        Ok(Response::new(BranchesResponse {
            present: record.branch,
            branches: record.branches().iter().map(branch_out).collect(),
            returns: returns.map(return_out).collect(),
        }))
    }

    async fn history(
        &self,
        request: Request<HistoryRequest>,
    ) -> Result<Response<Messages<HistoryEvent>>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let id = instance_id(&request.get_ref().instance)?;
        let branch = match request.get_ref().branch {
            Some(branch) => branch,
            None => desk.known(&id).await?.branch,
        };
        let events = desk.events(&id, branch).await?;
        let lines = events.into_iter().enumerate().map(|(number, event)| Ok(event_out(number, &event)));
        Ok(Response::new(Box::pin(stream::iter(lines))))
    }

    async fn diff(&self, request: Request<DiffRequest>) -> Result<Response<Messages<DiffLine>>, Status> {
        let desk = self.desk(request.metadata()).await?;
        let DiffRequest { instance, left, right } = request.into_inner();
        let id = instance_id(&instance)?;
        let (left, right) = (desk.events(&id, left).await?, desk.events(&id, right).await?);
        let common = difference(&left, &right).common as usize;
        let rest = |events: Vec<Event>, side: fn(HistoryEvent) -> diff_line::Line| {
            let rest = events.into_iter().enumerate().skip(common);
            rest.map(move |(number, event)| side(event_out(number, &event)))
        };
        let lines = std::iter::once(diff_line::Line::Common(common as u64))
            .chain(rest(left, diff_line::Line::Left))
            .chain(rest(right, diff_line::Line::Right));
        let lines = lines.map(|line| Ok(DiffLine { line: Some(line) }));
        Ok(Response::new(Box::pin(stream::iter(lines))))
    }
}
