//! A run's history for a worker that does not have it: encoded pages, one after another.

use engine_core::ids::RunId;
use engine_proto::convert::run_id as parse_run_id;
use engine_proto::{EncodedHistory, v1};

use super::handle::read_page;
use super::{Client, ClientError};

/// Events in one page, at most. A page is also bounded in bytes by the server, so a worker that replays page by page needs little
/// memory however long the history is.
const PAGE_EVENTS: u32 = 10_000;

/// All events of a run, as they are by now.
pub(crate) async fn read_whole(
    client: &Client,
    workflow_id: &str,
    run_id: RunId,
) -> Result<EncodedHistory, ClientError> {
    let named = v1::WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_string() };
    let mut whole = EncodedHistory::default();
    let mut page_token = Vec::new();
    loop {
        let page = read_page(client, named.clone(), page_token, PAGE_EVENTS).await?;
        whole.events.extend(page.history.unwrap_or_default().events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(whole);
        }
    }
}

/// The events of a run before one that the worker has.
pub(crate) struct HistoryPages {
    client: Client,
    named: v1::WorkflowExecution,
    page_token: Vec<u8>,
    /// Events that are still to come.
    wanted: u64,
    before: u64,
}

impl HistoryPages {
    /// The events before event `before`, from the first.
    pub(crate) fn new(client: Client, workflow_id: &str, run_id: &str, before: u64) -> Result<Self, ClientError> {
        parse_run_id("run_id", run_id)?;
        let named = v1::WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() };
        Ok(Self { client, named, page_token: Vec::new(), wanted: before.saturating_sub(1), before })
    }

    /// The next page; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<EncodedHistory>, ClientError> {
        if self.wanted == 0 {
            return Ok(None);
        }
        let page_token = std::mem::take(&mut self.page_token);
        let page = read_page(&self.client, self.named.clone(), page_token, PAGE_EVENTS).await?;
        let mut history = page.history.unwrap_or_default();
        history.events.truncate(usize::try_from(self.wanted).unwrap_or(usize::MAX));
        self.wanted -= history.events.len() as u64;
        self.page_token = page.next_page_token;
        if self.wanted > 0 && self.page_token.is_empty() {
            let (run_id, before) = (&self.named.run_id, self.before);
            let message = format!("the history of run {run_id} ends before event {before}");
            return Err(ClientError::NotFound { what: "event".into(), name: before.to_string(), message });
        }
        Ok(Some(history))
    }
}
