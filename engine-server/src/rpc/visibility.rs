//! Lists and counts by a filter.

use std::sync::Arc;

use engine_core::filter::{Filter, Number, OrderKey, Subject, SyntaxError, parse_count_of, parse_list_of};
use engine_core::ids::RunId;
use engine_core::search::SearchTypes;
use engine_proto::v1;
use uuid::Uuid;

use super::{history, validate};
use crate::batch;
use crate::limits;
use crate::namespaces::Namespace;
use crate::node::NodeContext;
use crate::shard::request::ServerError;
use crate::store::{ExecutionRow, NamespaceId, Search};

/// What is listed, and under which number its rows are.
fn rows_of(namespace: &Namespace, subject: Subject) -> NamespaceId {
    match subject {
        Subject::Workflows => namespace.id,
        Subject::Activities => namespace.id.of_activities(),
    }
}

/// Which page of a list a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageOf<'a> {
    pub(super) query: &'a str,
    pub(super) size: u32,
    pub(super) token: &'a [u8],
}

/// A page of workflows, and the token of the next page; empty if this was the last.
pub(super) async fn list_workflows(
    context: &NodeContext,
    namespace: &Namespace,
    request: &v1::ListWorkflowsRequest,
) -> Result<(Vec<ExecutionRow>, Vec<u8>), ServerError> {
    if request.status != 0 || !request.workflow_type.is_empty() || !request.workflow_id.is_empty() {
        return Err(invalid(
            "query",
            "cannot be combined with status, workflow_type and workflow_id: say it all in the query",
        ));
    }
    let page = PageOf { query: &request.query, size: request.page_size, token: &request.page_token };
    list(context, namespace, Subject::Workflows, page).await
}

/// A page of runs, and the token of the next page; empty if this was the last.
pub(super) async fn list(
    context: &NodeContext,
    namespace: &Namespace,
    subject: Subject,
    page: PageOf<'_>,
) -> Result<(Vec<ExecutionRow>, Vec<u8>), ServerError> {
    let filter = list_filter(context, namespace, subject, page.query).await?;
    let limit = validate::page_size(page.size, limits::LIST_PAGE_DEFAULT, limits::LIST_PAGE_MAX)?;
    let after = match page.token {
        [] => None,
        token => Some(
            decode(token, page.query)
                .ok_or_else(|| invalid("page_token", "is not a token of this query: start again without one"))?,
        ),
    };
    let order = filter.order.clone();
    let search = Search { namespace: rows_of(namespace, subject), filter, after, limit };
    let store = Arc::clone(&context.store);
    let rows = history::detached(async move { store.search(&search).await }).await?;
    let token = match rows.last() {
        Some(last) if rows.len() == limit as usize => {
            encode(&last.listed().order_key(&order), last.key.run_id, page.query)
        }
        Some(_) | None => Vec::new(),
    };
    Ok((rows, token))
}

/// What a list asks for.
pub(super) async fn list_filter(
    context: &NodeContext,
    namespace: &Namespace,
    subject: Subject,
    query: &str,
) -> Result<Filter, ServerError> {
    parsed(context, namespace, |attributes| parse_list_of(subject, query, attributes)).await
}

pub(super) async fn count_workflows(
    context: &NodeContext,
    namespace: &Namespace,
    query: &str,
) -> Result<v1::CountWorkflowsResponse, ServerError> {
    let (count, groups) = count(context, namespace, Subject::Workflows, query).await?;
    Ok(v1::CountWorkflowsResponse { count, groups })
}

/// How many runs a query means in all, and in its groups if it has any.
pub(super) async fn count(
    context: &NodeContext,
    namespace: &Namespace,
    subject: Subject,
    query: &str,
) -> Result<(u64, Vec<v1::WorkflowGroup>), ServerError> {
    let filter = parsed(context, namespace, |attributes| parse_count_of(subject, query, attributes)).await?;
    let is_grouped = filter.group_by.is_some();
    let (store, rows) = (Arc::clone(&context.store), rows_of(namespace, subject));
    let groups = history::detached(async move { store.count(rows, &filter).await }).await?;
    let count = groups.iter().map(|(_, count)| count).sum();
    let group = |(value, count)| v1::WorkflowGroup { value, count };
    let groups = if is_grouped { groups.into_iter().map(group).collect() } else { Vec::new() };
    Ok((count, groups))
}

/// The runs that a batch means.
pub(super) async fn meant_by_batch(
    context: &NodeContext,
    namespace: &Namespace,
    batch: &v1::Batch,
) -> Result<Filter, ServerError> {
    let query = &batch.query;
    let filter = parsed(context, namespace, |attributes| parse_count_of(Subject::Workflows, query, attributes)).await?;
    let operation = batch.operation.as_ref().and_then(|operation| operation.operation.as_ref());
    let standing = operation.map_or(batch::Standing::Open, batch::Standing::of);
    batch::meant(filter, standing).map_err(|problem| invalid("query", &problem))
}

/// What a text means with the attributes that are registered; they are read again before one is called unknown.
async fn parsed(
    context: &NodeContext,
    namespace: &Namespace,
    parse: impl Fn(&SearchTypes) -> Result<Filter, SyntaxError>,
) -> Result<Filter, ServerError> {
    if let Ok(filter) = parse(&namespace.settings.search_types) {
        return Ok(filter);
    }
    context.namespaces.refresh(&context.store).await?;
    let latest = context.namespaces.by_id(namespace.id);
    let attributes = latest.as_deref().unwrap_or(namespace);
    parse(&attributes.settings.search_types).map_err(|error| invalid("query", &error.to_string()))
}

fn invalid(field: &str, problem: &str) -> ServerError {
    ServerError::Invalid { field: field.to_owned(), problem: problem.to_owned() }
}

/// Which query a token belongs to (FNV-1a): a token of another would give a list with holes.
fn fingerprint(query: &str) -> [u8; 8] {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    query.bytes().fold(0xcbf2_9ce4_8422_2325, step).to_be_bytes()
}

fn encode(key: &OrderKey, run_id: RunId, query: &str) -> Vec<u8> {
    let mut token = fingerprint(query).to_vec();
    token.extend_from_slice(run_id.as_uuid().as_bytes());
    match key {
        OrderKey::Run => token.push(0),
        OrderKey::Int(number) => {
            token.push(1);
            token.extend_from_slice(&number.to_be_bytes());
        }
        OrderKey::Text(text) => {
            token.push(2);
            token.extend_from_slice(text.as_bytes());
        }
        OrderKey::Double(number) => {
            token.push(3);
            token.extend_from_slice(&number.get().to_be_bytes());
        }
    }
    token
}

fn decode(token: &[u8], query: &str) -> Option<(OrderKey, RunId)> {
    let (of, rest) = token.split_at_checked(8)?;
    let (run_id, rest) = rest.split_at_checked(16)?;
    if of != fingerprint(query) {
        return None;
    }
    let key = match rest.split_first()? {
        (0, []) => OrderKey::Run,
        (1, number) => OrderKey::Int(i64::from_be_bytes(number.try_into().ok()?)),
        (3, number) => OrderKey::Double(Number::new(f64::from_be_bytes(number.try_into().ok()?))?),
        (2, text) => OrderKey::Text(String::from_utf8(text.to_vec()).ok()?),
        _ => return None,
    };
    Some((key, RunId::from_uuid(Uuid::from_slice(run_id).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_for_its_own_query_and_no_other() {
        let run_id = RunId::from_uuid(Uuid::max());
        let double = OrderKey::Double(Number::new(-0.1).unwrap());
        for key in [
            OrderKey::Run,
            OrderKey::Int(i64::MIN),
            OrderKey::Text("it\u{e4}".into()),
            OrderKey::Text(String::new()),
            double,
        ] {
            let token = encode(&key, run_id, "a");
            assert_eq!(decode(&token, "a"), Some((key, run_id)));
            assert_eq!(decode(&token, "b"), None);
            assert_eq!(decode(&token[..24], "a"), None);
        }
        assert_eq!(decode(b"", "a"), None);
    }
}
