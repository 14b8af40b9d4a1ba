//! What a processor reads from its store while it goes on with other things.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use perdura_core::PartitionId;
use perdura_core::partition::{Envelope, HistoryName, InstanceRow, Need};
use perdura_store::{BoxFuture, HistoryRows, Lookup, Store, StoreError, read_history};
use std::sync::Arc;

/// Messages taken at once.
const MESSAGES_PAGE: usize = 1000;

/// Something that was read.
pub(crate) enum Read {
    Rows(Result<Vec<(Lookup, Option<InstanceRow>)>, StoreError>),
    History { of: HistoryName, rows: Result<HistoryRows, StoreError> },
    Messages(Result<Vec<Envelope>, StoreError>),
}

/// The reads that are under way.
pub(crate) struct Reads {
    store: Arc<dyn Store>,
    pending: FuturesUnordered<BoxFuture<'static, Read>>,
    /// Messages are being read; if a bell has rung since, they are read again.
    messages: Option<Again>,
}

type Again = bool;

impl Reads {
    pub(crate) fn new(store: Arc<dyn Store>) -> Reads {
        Reads { store, pending: FuturesUnordered::new(), messages: None }
    }

    /// Begins to read what a processor needs: rows together, each history by itself.
    pub(crate) fn begin(&mut self, needs: Vec<Need>) {
        let mut lookups = Vec::new();
        for need in needs {
            match need {
                Need::FindId(id) => lookups.push(Lookup::Id(id)),
                Need::FindKey(key) => lookups.push(Lookup::Key(key)),
                Need::History { key, generation, branch, parts } => {
                    let store = self.store.clone();
                    self.pending.push(Box::pin(async move {
                        let rows = read_history(&*store, key, generation, &parts).await;
                        Read::History { of: (key, generation, branch), rows }
                    }));
                }
            }
        }
        if !lookups.is_empty() {
            let store = self.store.clone();
            self.pending.push(Box::pin(async move {
                let rows = store.find(lookups.clone()).await;
                Read::Rows(rows.map(|rows| lookups.into_iter().zip(rows).collect()))
            }));
        }
    }

    /// Begins to read messages for the partition, page by page. One read at a time: what an earlier one brings may have
    /// been dealt with since.
    pub(crate) fn messages(&mut self, partition: PartitionId) {
        if let Some(again) = &mut self.messages {
            *again = true;
            return;
        }
        self.messages = Some(false);
        let store = self.store.clone();
        self.pending.push(Box::pin(async move {
            let mut all = Vec::new();
            let mut after = None;
            loop {
                match store.messages(partition, after, MESSAGES_PAGE).await {
                    Ok(page) => {
                        let full = page.len() == MESSAGES_PAGE;
                        all.extend(page);
                        after = all.last().map(|e: &Envelope| perdura_core::partition::EnvelopeId {
                            from: e.from,
                            number: e.number,
                        });
                        if !full {
                            return Read::Messages(Ok(all));
                        }
                    }
                    Err(error) => return Read::Messages(Err(error)),
                }
            }
        }));
    }

    /// The messages of a read were delivered: another read may begin, and does if a bell has rung meanwhile.
    pub(crate) fn messages_delivered(&mut self, partition: PartitionId) {
        if self.messages.take() == Some(true) {
            self.messages(partition);
        }
    }

    /// The next read that is finished; `None` if none is under way.
    pub(crate) async fn next(&mut self) -> Option<Read> {
        self.pending.next().await
    }
}
