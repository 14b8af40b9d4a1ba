//! The stream of work to one worker. It outlives the hub that it began with if another one takes its place: workers would come
//! back by themselves, but that of Java only after five seconds.

use crate::hub::{Hub, HubError, Hubs};
use crate::hub_name::HubName;
use crate::work_items::{Profile, WorkItemStream};
use futures_util::{FutureExt, Stream, StreamExt};
use perdura_core::Timestamp;
use perdura_proto::{GetWorkItemsRequest, WorkItem};
use perdura_store::BoxFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::{Request, Status};

/// See the module.
pub(crate) struct ItemStream {
    hubs: Arc<Hubs>,
    hub: HubName,
    request: GetWorkItemsRequest,
    profile: Profile,
    /// Who the worker is, as the record of its hand-overs names it.
    name: Arc<str>,
    at: At,
}

enum At {
    Hub(WorkItemStream),
    /// The next hub is being opened.
    Door(BoxFuture<'static, Result<Arc<Hub>, HubError>>),
    End,
}

impl ItemStream {
    pub(super) fn new(
        hubs: &Arc<Hubs>,
        hub: &Hub,
        request: Request<GetWorkItemsRequest>,
        message_bytes_max: usize,
    ) -> ItemStream {
        let user_agent = super::worker::user_agent(request.metadata());
        let profile = Profile::new(request.get_ref(), user_agent, message_bytes_max);
        let address = request.remote_addr().map_or_else(String::new, |address| address.to_string());
        let name = format!("{address} {user_agent}").trim().into();
        let (hubs, request) = (hubs.clone(), request.into_inner());
        let mut stream = ItemStream { hubs, hub: hub.name.clone(), request, profile, name, at: At::End };
        stream.enter(hub);
        stream
    }

    fn enter(&mut self, hub: &Hub) {
        // A worker that does not read must not keep the hub open.
        let store = Arc::downgrade(hub.client.store());
        let now = Arc::new(move || store.upgrade().map_or(Timestamp(0), |store| store.now()));
        let (request, profile) = (self.request.clone(), self.profile.clone());
        self.at = At::Hub(WorkItemStream::new(hub.board.clone(), request, profile, now, self.name.clone()));
    }
}

impl Stream for ItemStream {
    type Item = Result<WorkItem, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.at {
                At::Hub(items) => match ready!(items.poll_next_unpin(context)) {
                    Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                    Some(Err(status)) => {
                        self.at = At::End;
                        return Poll::Ready(Some(Err(status)));
                    }
                    None => {
                        let (hubs, hub) = (self.hubs.clone(), self.hub.clone());
                        self.at = At::Door(Box::pin(async move { hubs.get(&hub).await }));
                    }
                },
                At::Door(door) => match ready!(door.poll_unpin(context)) {
                    Ok(hub) => self.enter(&hub),
                    Err(error) => {
                        self.at = At::End;
                        return Poll::Ready(Some(Err(super::hub_refusal(&error))));
                    }
                },
                At::End => return Poll::Ready(None),
            }
        }
    }
}
