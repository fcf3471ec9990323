//! Order, pages and filters of what is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use engine_core::event::CloseStatus;
use engine_core::filter::{parse_count, parse_list};
use engine_core::ids::{EventId, RunId, SearchAttributeName};
use engine_core::search::{SearchAttributes, SearchType, SearchTypes, SearchValue};
use engine_core::time::Timestamp;

use super::{Run, Subject, World};
use crate::store::{
    ExecutionChange, ExecutionRow, ExecutionUpdate, HistoryRow, ListFilter, NamespaceId, OWES_MESSAGES, Search, ShardId,
};

/// The latest run of each id, `None` for ids without runs.
pub async fn the_latest_runs_come_in_the_order_of_the_keys(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let mut runs: Vec<_> = (0..6).map(|number| Run::bare(2, number)).collect();
    for (number, run) in runs.iter_mut().enumerate() {
        // Three runs each of two ids, one a prefix of the other.
        run.stored.row.key.workflow_id = if number % 2 == 0 { "order" } else { "order-1" }.to_owned();
    }
    // Not the order of their ids.
    world.write([&runs[3], &runs[4], &runs[0], &runs[5], &runs[1], &runs[2]]).await;
    let mut absent = runs[0].workflow();
    absent.workflow_id = "orde".to_owned();
    let mut elsewhere = runs[0].workflow();
    elsewhere.namespace = NamespaceId(2);
    let keys = [runs[1].workflow(), absent, runs[0].workflow(), elsewhere, runs[1].workflow()];
    let (first, second) = (Some(runs[4].stored.row.clone()), Some(runs[5].stored.row.clone()));
    let expected = [second.clone(), None, first, None, second];
    assert_eq!(world.store.latest_runs(&keys).await.expect("read"), expected);
    assert_eq!(world.store.latest_runs(&[]).await.expect("read"), []);
}

/// `None` for runs that are not there.
pub async fn runs_are_loaded_in_the_order_of_the_keys(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let runs: Vec<_> = (0..3).map(|number| Run::new(number as i32, number)).collect();
    world.write([&runs[0], &runs[2]]).await;
    let keys = [2, 1, 0].map(|index: usize| runs[index].key().clone());
    let loaded = world.store.load_runs(&keys).await.expect("load");
    assert_eq!(loaded, [Some(runs[2].stored.clone()), None, Some(runs[0].stored.clone())]);
    assert_eq!(world.store.load_runs(&[]).await.expect("load"), []);
    assert_eq!(world.store.execution(runs[1].key()).await.expect("read"), None);
}

/// Only closed ones, only of the shard.
pub async fn closed_runs_that_owe_messages_come_by_run_id_until_they_owe_none(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let mut runs: Vec<_> = (0..5).map(|number| Run::bare(3, number)).collect();
    for run in &mut runs {
        run.stored.row.wake_at = OWES_MESSAGES;
        run.stored.row.status = Some(CloseStatus::Completed);
    }
    let mut settled = Run::bare(3, 100);
    settled.stored.row.status = Some(CloseStatus::Completed);
    settled.stored.row.wake_at = Timestamp::EPOCH;
    let open = Run::bare(3, 101);
    let mut elsewhere = Run::bare(4, 102);
    elsewhere.stored.row.status = Some(CloseStatus::Failed);
    elsewhere.stored.row.wake_at = OWES_MESSAGES;
    world.write(runs.iter().rev().chain([&settled, &open, &elsewhere])).await;

    let rows: Vec<_> = runs.iter().map(|run| run.stored.row.clone()).collect();
    let page = async |after: Option<&Run>, limit| {
        let after = after.map(|run| run.key().run_id);
        world.store.owing_runs(ShardId(3), after, limit).await.expect("read")
    };
    assert_eq!(page(None, 3).await, rows[..3]);
    assert_eq!(page(Some(&runs[2]), 3).await, rows[3..]);
    let mut batch = world.batch();
    let change = ExecutionChange::WakeAt(Timestamp::MAX);
    batch.updates.push(ExecutionUpdate { key: runs[0].key().clone(), change });
    world.store.commit(&batch).await.expect("commit");
    assert_eq!(page(None, 9).await, rows[1..]);
}

/// By instant, then by run id; only open ones, only of the shard.
pub async fn due_runs_come_in_pages_and_tell_the_next_wake(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let at = Timestamp::from_micros;
    // Instants with ties, in an order that is not theirs.
    let wakes = [50, 0, 20, 20, 0, 90, 20, 70];
    let mut runs: Vec<_> = (0..8).map(|number| Run::bare(3, number)).collect();
    for (run, wake) in runs.iter_mut().zip(wakes) {
        run.stored.row.wake_at = at(wake);
    }
    let mut closed = Run::bare(3, 100);
    closed.stored.row.status = Some(CloseStatus::Completed);
    let elsewhere = Run::bare(4, 101);
    let mut never = Run::bare(3, 102);
    never.stored.row.wake_at = Timestamp::MAX;
    world.write(runs.iter().chain([&closed, &elsewhere])).await;

    let mut rows: Vec<_> = runs.iter().map(|run| run.stored.row.clone()).collect();
    rows.sort_by_key(|row| (row.wake_at, row.key.run_id));
    let due = async |until, after, limit| world.store.due_runs(ShardId(3), until, after, limit).await.expect("read");
    assert_eq!(due(at(60), None, 100).await, (rows[..6].to_vec(), at(70)));
    assert_eq!(due(at(20), None, 100).await, (rows[..5].to_vec(), at(50)), "`until` is included");
    assert_eq!(due(at(20), None, 5).await, (rows[..5].to_vec(), at(50)), "a full page that is the last");
    assert_eq!(due(at(-1), None, 100).await, (Vec::new(), at(0)));
    assert_eq!(due(at(90), None, 100).await, (rows.clone(), Timestamp::MAX));

    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = due(at(60), after, 2).await;
        assert!(page.len() <= 2);
        after = page.last().map(|row| (row.wake_at, row.key.run_id));
        paged.extend(page);
        if next > at(60) {
            assert_eq!(next, at(70));
            break;
        }
    }
    assert_eq!(paged, rows[..6]);

    world.write([&never]).await;
    let (page, next) = due(at(1000), None, 100).await;
    assert_eq!((page.len(), next), (8, Timestamp::MAX), "what never wakes by itself is not due");
}

/// Pages begin at the row that contains the event.
pub async fn a_history_is_read_from_any_event_in_both_directions(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let (mut run, mut other) = (Run::bare(1, 1), Run::bare(1, 2));
    for run in [&mut run, &mut other] {
        let (shard, run_id) = (run.key().shard, run.key().run_id);
        run.stored.history = [1, 4, 5, 9, 20]
            .map(|first| {
                let events = Bytes::from(vec![first as u8; 100]);
                HistoryRow { shard, run_id, first_event_id: EventId(first), events }
            })
            .to_vec();
    }
    world.write([&run, &other]).await;
    let read = async |from, reverse, rows, bytes| {
        let (shard, run_id) = (run.key().shard, run.key().run_id);
        let page = world.store.read_history(shard, run_id, EventId(from), reverse, rows, bytes).await.expect("read");
        for row in &page {
            assert!(run.stored.history.contains(row));
        }
        page.iter().map(|row| row.first_event_id.0).collect::<Vec<_>>()
    };
    const MANY: u32 = 1000;
    const BYTES: usize = 1 << 20;
    assert_eq!(read(1, false, MANY, BYTES).await, [1, 4, 5, 9, 20]);
    assert_eq!(read(0, false, MANY, BYTES).await, [1, 4, 5, 9, 20]);
    assert_eq!(read(3, false, MANY, BYTES).await, [1, 4, 5, 9, 20], "event 3 is in the first row");
    assert_eq!(read(4, false, MANY, BYTES).await, [4, 5, 9, 20]);
    assert_eq!(read(8, false, 2, BYTES).await, [5, 9]);
    assert_eq!(read(500, false, MANY, BYTES).await, [20], "the store does not know where the last row ends");
    assert_eq!(read(0, true, MANY, BYTES).await, [20, 9, 5, 4, 1]);
    assert_eq!(read(9, true, MANY, BYTES).await, [9, 5, 4, 1]);
    assert_eq!(read(8, true, 2, BYTES).await, [5, 4]);
    assert_eq!(read(3, true, MANY, BYTES).await, [1]);

    assert_eq!(read(1, false, MANY, 0).await, [1], "at least one row");
    assert_eq!(read(0, true, MANY, 1).await, [20]);
    assert_eq!(read(1, false, MANY, 250).await, [1, 4, 5], "about as many bytes as asked for");
    assert_eq!(read(1, false, MANY, 200).await, [1, 4]);
    assert_eq!(read(9, true, MANY, 101).await, [9, 5]);

    let nobody = RunId::from_uuid(uuid::Uuid::max());
    let none = world.store.read_history(ShardId(1), nobody, EventId(1), false, MANY, BYTES).await.expect("read");
    assert_eq!(none, []);
}

/// Latest first, whatever the shard.
pub async fn lists_are_filtered_and_come_in_pages(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let sales = world.store.create_namespace("sales", b"").await.expect("create").id;
    let mut runs: Vec<_> = (0..20).map(|number| Run::bare((number * 3 % 8) as i32, number)).collect();
    for (number, run) in runs.iter_mut().enumerate() {
        let row = &mut run.stored.row;
        if number % 2 == 1 {
            row.status = Some(if number % 4 == 1 { CloseStatus::Completed } else { CloseStatus::Canceled });
        }
        if number % 5 == 0 {
            row.workflow_type = "refund".to_owned();
        }
        row.search_attributes = attributes(number);
        if number >= 18 {
            row.key.namespace = sales;
        }
        if number == 6 || number == 7 {
            row.key.workflow_id = "order-42".to_owned();
            row.key.shard = ShardId(5);
        }
    }
    world.write(&runs).await;
    let all = ListFilter {
        namespace: NamespaceId(1),
        status: None,
        workflow_type: None,
        workflow_id: None,
        before: None,
        limit: 100,
    };
    let list = async |filter: ListFilter| {
        let rows = world.store.list(&filter).await.expect("list");
        let number = |row| runs.iter().position(|run| run.stored.row == row).expect("one of the runs, unchanged");
        rows.into_iter().map(number).collect::<Vec<_>>()
    };
    let expect = |wanted: &dyn Fn(usize) -> bool| (0..18).rev().filter(|number| wanted(*number)).collect::<Vec<_>>();
    assert_eq!(list(all.clone()).await, expect(&|_| true));
    assert_eq!(list(ListFilter { namespace: sales, ..all.clone() }).await, [19, 18]);
    assert_eq!(list(ListFilter { namespace: NamespaceId(99), ..all.clone() }).await, [0; 0]);
    assert_eq!(list(ListFilter { status: Some(None), ..all.clone() }).await, expect(&|number| number % 2 == 0));
    let completed = ListFilter { status: Some(Some(CloseStatus::Completed)), ..all.clone() };
    assert_eq!(list(completed.clone()).await, expect(&|number| number % 4 == 1));
    let refunds = ListFilter { workflow_type: Some("refund".to_owned()), ..all.clone() };
    assert_eq!(list(refunds.clone()).await, [15, 10, 5, 0]);
    let both = ListFilter { workflow_type: Some("refund".to_owned()), ..completed };
    assert_eq!(list(both).await, [5]);
    let one = ListFilter { workflow_id: Some("order-42".to_owned()), ..all.clone() };
    assert_eq!(list(one.clone()).await, [7, 6]);
    assert_eq!(list(ListFilter { status: Some(None), ..one }).await, [6]);

    searches_agree(&world, &runs).await;
    for filter in [all, refunds] {
        let whole = list(filter.clone()).await;
        let mut paged = Vec::new();
        let mut before = None;
        loop {
            let page = list(ListFilter { before, limit: 3, ..filter.clone() }).await;
            let Some(last) = page.last() else { break };
            before = Some(runs[*last].key().run_id);
            paged.extend(page);
        }
        assert_eq!(paged, whole);
    }
}

fn known() -> SearchTypes {
    let types = ["Region", "Tags", "Note", "Total", "Rate", "Vip", "DueAt"].into_iter().zip(SearchType::ALL);
    types.map(|(name, search_type)| (SearchAttributeName::from_trusted(name), search_type)).collect()
}

/// Attributes that differ: some runs have none, some have one of another type than is registered.
fn attributes(number: usize) -> SearchAttributes {
    let integer = i64::try_from(number).expect("small");
    let all = [
        ("Region", SearchValue::Keyword(["eu", "us'", "", "\u{e4}\"\\"][number % 4].to_owned())),
        ("Tags", SearchValue::KeywordList((0..number % 3).map(|tag| format!("tag {tag}")).collect())),
        ("Note", SearchValue::Text(["Late: call back", "all well, CALLED"][number % 2].to_owned())),
        ("Total", SearchValue::Int([i64::MIN, -1, integer, i64::MAX][number % 4])),
        ("Rate", SearchValue::Double([-1e300, -0.1, 0.0, 1.0 / 3.0][number % 4])),
        ("Vip", SearchValue::Bool(number.is_multiple_of(3))),
        ("DueAt", SearchValue::Datetime(Timestamp::from_micros(1_795_305_600_000_000 + integer))),
    ];
    let all = all.into_iter().map(|(name, value)| (SearchAttributeName::from_trusted(name), value));
    match number % 5 {
        0 => SearchAttributes::new(),
        1 => SearchAttributes::from([(SearchAttributeName::from_trusted("Total"), SearchValue::Keyword("7".into()))]),
        2 => all.skip(number % 7).collect(),
        _ => all.collect(),
    }
}

/// Each filter gives what the rows themselves say, in its order, whole and page by page; and so do counts.
async fn searches_agree(world: &World, runs: &[Run]) {
    let namespace = NamespaceId(1);
    let rows: Vec<&ExecutionRow> =
        runs.iter().map(|run| &run.stored.row).filter(|row| row.key.namespace == namespace).collect();
    let middle = rows[9].key.run_id;
    for text in [
        "".to_owned(),
        "Status = 'Running'".to_owned(),
        "Status != 'Completed' ORDER BY WorkflowId".to_owned(),
        "Status IN ('Running', 'Canceled') ORDER BY CloseTime DESC".to_owned(),
        "WorkflowType = 'refund' OR WorkflowId = 'order-42' ORDER BY HistoryLength".to_owned(),
        "WorkflowId = 'order-42' AND NOT Status = 'Running'".to_owned(),
        "WorkflowId STARTS_WITH 'order' ORDER BY TaskQueue".to_owned(),
        "WorkflowId NOT STARTS_WITH 'ORDER' ORDER BY WorkflowType DESC".to_owned(),
        "CloseTime IS NULL ORDER BY StartTime".to_owned(),
        "NOT (CloseTime > '1970-01-01') OR CloseTime < '1970-01-01T00:00:01Z' ORDER BY CloseTime".to_owned(),
        "StartTime BETWEEN '1969-01-01' AND '2100-01-01' AND HistoryLength >= 0".to_owned(),
        format!("RunId <= '{middle}' ORDER BY RunId"),
        format!("RunId IN ('{middle}')"),
        "WorkflowType = '%'' OR 1 = 1'".to_owned(),
        "Region = 'eu'".to_owned(),
        "Region != \"us'\" ORDER BY Region".to_owned(),
        "Region IN ('', 'eu') ORDER BY Region DESC".to_owned(),
        "Region BETWEEN 'a' AND 'f' OR Region STARTS_WITH '\u{e4}\"'".to_owned(),
        "Region NOT STARTS_WITH 'u'".to_owned(),
        "Tags = 'tag 1'".to_owned(),
        "Tags != 'tag 1'".to_owned(),
        "Tags NOT IN ('tag 1', 'x')".to_owned(),
        "Tags STARTS_WITH 'tag'".to_owned(),
        "NOT Tags STARTS_WITH 'tag' OR Tags IS NULL".to_owned(),
        "Note = 'CALL late'".to_owned(),
        "Note != 'call'".to_owned(),
        "Note IN ('well', 'back')".to_owned(),
        "Note STARTS_WITH 'Late:'".to_owned(),
        "Total > 3 ORDER BY Total".to_owned(),
        "Total <= -1 OR Total = 9223372036854775807 ORDER BY Total DESC".to_owned(),
        "NOT Total = 8".to_owned(),
        "Total IN (-1, 2, 3) AND Vip = true".to_owned(),
        "Total IS NULL ORDER BY Total".to_owned(),
        "Rate BETWEEN -0.1 AND 0.5 ORDER BY Rate DESC".to_owned(),
        "Rate = -0.1 OR Rate < -1e299 ORDER BY Rate".to_owned(),
        "Vip != true AND Vip IS NOT NULL".to_owned(),
        "DueAt > '2026-11-22T00:00:00.000004Z' ORDER BY DueAt".to_owned(),
        "DueAt IN ('2026-11-22T00:00:00.000008Z') OR DueAt IS NULL".to_owned(),
    ] {
        let filter = parse_list(&text, &known()).unwrap_or_else(|error| panic!("{error}"));
        let order = filter.order.clone();
        let mut expected: Vec<&ExecutionRow> = rows.clone();
        expected.retain(|row| filter.condition.as_ref().is_none_or(|it| it.matches(&row.listed()) == Some(true)));
        expected.sort_by(|a, b| {
            let (one, other) = (a.listed().order_key(&order), b.listed().order_key(&order));
            order.compare((&one, a.key.run_id), (&other, b.key.run_id))
        });
        let mut search = Search { namespace, filter, after: None, limit: 100 };
        let found = world.store.search(&search).await.expect("search");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{text}");

        search.limit = 4;
        let mut paged = Vec::new();
        loop {
            let page = world.store.search(&search).await.expect("search");
            let Some(last) = page.last() else { break };
            search.after = Some((last.listed().order_key(&order), last.key.run_id));
            paged.extend(page);
        }
        assert_eq!(paged.iter().collect::<Vec<_>>(), expected, "{text}, page by page");
        let counted = world.store.count(namespace, &search.filter).await.expect("count");
        assert_eq!(counted, [(String::new(), expected.len() as u64)], "{text}");
    }
    for text in [
        "GROUP BY Status",
        "Status = 'Running' GROUP BY WorkflowType",
        "GROUP BY Region",
        "Total IS NOT NULL GROUP BY Total",
        "GROUP BY Vip",
    ] {
        let filter = parse_count(text, &known()).expect("a filter");
        let column = filter.group_by.as_ref().expect("a group");
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for row in &rows {
            if filter.condition.as_ref().is_none_or(|it| it.matches(&row.listed()) == Some(true)) {
                *expected.entry(row.listed().group(column)).or_default() += 1;
            }
        }
        let counted = world.store.count(namespace, &filter).await.expect("count");
        assert!(counted.is_sorted_by(|a, b| a.1 >= b.1), "largest first: {counted:?}");
        assert_eq!(counted.into_iter().collect::<BTreeMap<_, _>>(), expected, "{text}");
    }
}

/// Runs of a namespace come from the earliest start on, a page at a time, whatever their shard.
pub async fn the_earliest_runs_come_first(subject: &dyn Subject) {
    let world = World::create(subject).await;
    let sales = world.store.create_namespace("sales", b"").await.expect("create").id;
    let mut runs: Vec<_> = (0..7).map(|number| Run::bare((number * 3 % 8) as i32, number)).collect();
    runs[3].stored.row.key.namespace = sales;
    runs[5].stored.row.status = Some(CloseStatus::Failed);
    world.write(&runs).await;
    let page = async |namespace, after: Option<usize>| {
        let after = after.map(|number| runs[number].key().run_id);
        let rows = world.store.earliest_runs(namespace, after, 3).await.expect("read");
        let number = |row| runs.iter().position(|run| run.stored.row == row).expect("one of the runs, unchanged");
        rows.into_iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(page(NamespaceId(1), None).await, [0, 1, 2]);
    assert_eq!(page(NamespaceId(1), Some(2)).await, [4, 5, 6]);
    assert_eq!(page(NamespaceId(1), Some(6)).await, [0; 0]);
    assert_eq!(page(sales, None).await, [3]);
}
