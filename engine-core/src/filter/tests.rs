//! What texts mean, what is wrong with others, and which runs are meant.

use super::*;
use crate::limits;
use crate::search::{SearchAttributes, SearchTypes, SearchValue};

/// One attribute of each type.
fn known() -> SearchTypes {
    let types = ["Region", "Tags", "Note", "Total", "Rate", "Vip", "DueAt"].into_iter().zip(SearchType::ALL);
    types.map(|(name, search_type)| (SearchAttributeName::from_trusted(name), search_type)).collect()
}

fn parse_list(text: &str) -> Result<Filter, SyntaxError> {
    super::parse_list(text, &known())
}

fn parse_count(text: &str) -> Result<Filter, SyntaxError> {
    super::parse_count(text, &known())
}

fn attributes(values: impl IntoIterator<Item = (&'static str, SearchValue)>) -> SearchAttributes {
    values.into_iter().map(|(name, value)| (SearchAttributeName::from_trusted(name), value)).collect()
}

static NONE: SearchAttributes = SearchAttributes::new();

fn problem(text: &str) -> (usize, String) {
    let error = parse_list(text).expect_err(text);
    (error.column, error.problem)
}

fn run<'a>(workflow_id: &'a str, closed_at: Option<i64>) -> Listed<'a> {
    Listed {
        workflow_id,
        workflow_type: "order",
        run_id: RunId::from_parts(Timestamp::from_micros(1_795_305_600_000_000), [1; 10]),
        task_queue: "orders",
        status: closed_at.map(|_| CloseStatus::Completed),
        started_at: Timestamp::from_micros(1_795_305_600_000_000),
        closed_at: closed_at.map(Timestamp::from_micros),
        history_length: 7,
        search_attributes: &NONE,
    }
}

#[track_caller]
fn means(text: &str, run: &Listed<'_>) -> Option<bool> {
    parse_list(text).unwrap_or_else(|error| panic!("{error}")).condition.expect("a condition").matches(run)
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    let filter = parse_list("workflowid = 'a' or NOT Status = 'Running' and HistoryLength > -3").unwrap();
    let running = Condition::Compare(Column::Status, Comparison::Equal, Value::Status(None));
    let long = Condition::Compare(Column::HistoryLength, Comparison::Greater, Value::Int(-3));
    let a = Condition::Compare(Column::WorkflowId, Comparison::Equal, Value::Text("a".into()));
    assert_eq!(
        filter.condition,
        Some(Condition::Any(vec![a, Condition::All(vec![Condition::Not(Box::new(running)), long])]))
    );
    assert_eq!(filter.order, Order { column: Column::StartTime, descending: true });
}

#[test]
fn order_and_groups_stand_at_the_end_and_may_stand_alone() {
    assert_eq!(parse_list("").unwrap(), Filter::default());
    let order = |text| parse_list(text).unwrap().order;
    assert_eq!(order("ORDER BY CloseTime"), Order { column: Column::CloseTime, descending: false });
    assert!(order("TaskQueue='q' order by `WorkflowId` desc").descending);
    assert_eq!(parse_count("Status != 'Failed' GROUP BY WorkflowType").unwrap().group_by, Some(Column::WorkflowType));
    assert_eq!(parse_count("").unwrap(), Filter::default());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(problem("WorkflowType ="), (15, "expected a text in quotes for WorkflowType, but found the end".into()));
    assert_eq!(problem("Status = 'Runing'").0, 10);
    assert!(problem("Status = 'Runing'").1.starts_with("\"Runing\" is no status; there are Running, Completed"));
    assert!(problem("Nonsense = 1").1.starts_with("there is no column \"Nonsense\"; there are WorkflowId,"));
    assert_eq!(problem("Status > 'Failed'"), (8, "Status has no order: compare it with =, !=, IN or NOT IN".into()));
    assert_eq!(problem("StartTime > 'noon'").0, 13);
    assert_eq!(problem("HistoryLength = 1.5"), (17, "1.5 is no integer of 64 bits".into()));
    assert_eq!(problem("HistoryLength STARTS_WITH '1'").0, 15);
    assert_eq!(problem("RunId = 'x'"), (9, "\"x\" is no run id: it must be a UUID".into()));
    assert_eq!(problem("WorkflowId = 'a"), (14, "this ' is not closed by another".into()));
    assert_eq!(problem("(WorkflowId = 'a'"), (18, "expected \")\", but found the end".into()));
    assert_eq!(
        problem("WorkflowId = 'a' WorkflowId").1,
        "expected AND, OR or ORDER BY, or the end, but found WorkflowId"
    );
    assert_eq!(problem("WorkflowId ~ 'a'"), (12, "'~' means nothing here".into()));
    assert_eq!(problem("WorkflowId = 'a'; DROP TABLE history").0, 17);
    assert_eq!(problem("ORDER BY Status").1, "Status has no order");
    assert_eq!(parse_count("GROUP BY RunId").unwrap_err().column, 10);
    assert_eq!(parse_count("ORDER BY RunId").unwrap_err().column, 1);
    let error = parse_list("Status = 'Running' AND\nWorkflowTyp = 'order'").unwrap_err();
    assert_eq!(error.picture, "  Status = 'Running' AND WorkflowTyp = 'order'\n                         ^".to_owned());
}

#[test]
fn limits_hold_before_the_stack_or_a_statement_is_full() {
    let deep = format!("{}Status = 'Running'{}", "(".repeat(5000), ")".repeat(5000));
    assert!(problem(&deep).1.starts_with("the filter is 10018 bytes long"), "{}", problem(&deep).1);
    let deep = "NOT ".repeat(limits::FILTER_DEPTH_MAX + 1) + "Status = 'Running'";
    assert_eq!(problem(&deep).1, "more than 50 parentheses and NOTs stand within each other");
    let many = vec!["HistoryLength=1"; limits::FILTER_CONDITIONS_MAX + 1].join(" OR ");
    assert_eq!(problem(&many).1, "there are more than 200 conditions");
    let values = vec!["1"; limits::FILTER_VALUES_MAX + 1].join(",");
    assert_eq!(problem(&format!("HistoryLength IN ({values})")).1, "there are more than 500 values in one IN");
}

#[test]
fn each_kind_of_condition_finds_what_it_says() {
    let open = run("order-7", None);
    for (text, expected) in [
        ("WorkflowId = 'order-7'", true),
        ("WorkflowId = \"order-7\"", true),
        ("WorkflowId <> 'order-7'", false),
        ("WorkflowId = 'it''s'", false),
        ("WorkflowId STARTS_WITH 'order-'", true),
        ("WorkflowId NOT STARTS_WITH 'order-'", false),
        ("WorkflowId IN ('a', 'order-7')", true),
        ("WorkflowId NOT IN ('a', 'order-7')", false),
        ("WorkflowId BETWEEN 'order-1' AND 'order-8'", true),
        ("HistoryLength BETWEEN 8 AND 9", false),
        ("HistoryLength >= 7 AND HistoryLength <= 7", true),
        ("StartTime > '2026-11-21T23:59:59Z' AND StartTime < '2026-11-23'", true),
        ("ExecutionStatus = 'running'", true),
        ("Status IN ('Failed', 'TimedOut')", false),
        ("CloseTime IS NULL", true),
        ("CloseTime IS NOT NULL", false),
        ("NOT (WorkflowType = 'order' OR TaskQueue = 'x')", false),
    ] {
        assert_eq!(means(text, &open), Some(expected), "{text}");
    }
    assert_eq!(means("CloseTime > '2026-11-22'", &run("a", Some(i64::MAX))), Some(true));
}

#[test]
fn what_has_no_value_is_neither_equal_nor_unequal() {
    let open = run("order-7", None);
    assert_eq!(means("CloseTime = '2026-11-22'", &open), None);
    assert_eq!(means("NOT CloseTime = '2026-11-22'", &open), None);
    assert_eq!(means("CloseTime = '2026-11-22' OR Status = 'Running'", &open), Some(true));
    assert_eq!(means("CloseTime = '2026-11-22' AND Status = 'Failed'", &open), Some(false));
    assert_eq!(means("CloseTime = '2026-11-22' AND Status = 'Running'", &open), None);
}

#[test]
fn attributes_are_compared_by_their_type() {
    let own = attributes([
        ("Region", SearchValue::Keyword("eu-west".into())),
        ("Tags", SearchValue::KeywordList(vec!["new".into(), "Gift".into()])),
        ("Note", SearchValue::Text("Late delivery: call the customer".into())),
        ("Total", SearchValue::Int(-7)),
        ("Rate", SearchValue::Double(0.5)),
        ("Vip", SearchValue::Bool(true)),
        ("DueAt", SearchValue::Datetime(Timestamp::from_micros(1_795_305_600_000_000))),
    ]);
    let run = Listed { search_attributes: &own, ..run("w", None) };
    for (text, expected) in [
        ("Region = 'eu-west' AND region STARTS_WITH 'eu'", true),
        ("Region IN ('us', 'EU-WEST')", false),
        ("Region BETWEEN 'e' AND 'f'", true),
        ("Tags = 'new'", true),
        ("Tags = 'gift'", false),
        ("Tags != 'new'", false),
        ("Tags IN ('old', 'Gift')", true),
        ("Tags STARTS_WITH 'Gi'", true),
        ("Note = 'CUSTOMER late'", true),
        ("Note = 'late refund'", false),
        ("Note IN ('refund', 'call')", true),
        ("Note STARTS_WITH 'Late d'", true),
        ("Note STARTS_WITH 'call'", false),
        ("Total < 0 AND Total BETWEEN -7 AND -7", true),
        ("Rate > 0.25 AND Rate <= 1 AND Rate != 5e3", true),
        ("Vip = TRUE AND NOT Vip = false", true),
        ("DueAt >= '2026-11-22' AND DueAt IS NOT NULL", true),
    ] {
        assert_eq!(means(text, &run), Some(expected), "{text}");
    }
}

#[test]
fn an_attribute_that_a_run_has_not_or_has_of_another_type_is_no_value() {
    let own = attributes([("Total", SearchValue::Keyword("7".into()))]);
    let run = Listed { search_attributes: &own, ..run("w", None) };
    for text in ["Total = 7", "Region != 'eu'", "NOT Tags = 'x'", "Note = 'x'", "Tags NOT STARTS_WITH 'x'"] {
        assert_eq!(means(text, &run), None, "{text}");
    }
    assert_eq!(means("Total IS NULL AND Region IS NULL", &run), Some(true));
}

#[test]
fn what_is_wrong_with_an_attribute_is_said_with_its_place() {
    let (column, said) = problem("Status = 'Failed' AND Totl > 5");
    assert_eq!(column, 23);
    assert!(said.ends_with("and the search attributes DueAt (Datetime), Note (Text), Rate (Double), Region (Keyword), Tags (KeywordList), Total (Int), Vip (Bool)"), "{said}");
    let said = super::parse_list("Total > 5", &SearchTypes::new()).unwrap_err().problem;
    assert!(said.ends_with("HistoryLength, and the namespace has no search attributes registered"), "{said}");
    assert_eq!(problem("Total = 'seven'"), (9, "expected an integer, but found the text \"seven\"".into()));
    assert_eq!(problem("Rate = 1e400"), (8, "1e400 is no number: write it like 2.5 or 1e6".into()));
    assert_eq!(problem("Vip = 1"), (7, "expected true or false, but found 1".into()));
    assert_eq!(problem("Vip > true").1, "Vip has no order: compare it with =, !=, IN or NOT IN");
    assert_eq!(problem("Note = '...'"), (8, "\"...\" has no word, and Note is found by words".into()));
    assert_eq!(problem("Tags < 'x'").0, 6);
    assert_eq!(problem("Total STARTS_WITH '1'").0, 7);
    assert_eq!(problem("ORDER BY Note").1, "Note has no order");
    assert_eq!(problem("Region = 'a\0'").1, "a NUL character means nothing here");
    assert!(parse_count("GROUP BY Rate").unwrap_err().problem.starts_with("runs are not grouped by Rate"));
    assert!(parse_count("GROUP BY vip").is_ok());
}

#[test]
fn in_an_order_a_run_without_the_attribute_is_the_least() {
    let rich = attributes([("Total", SearchValue::Int(-9)), ("Rate", SearchValue::Double(-1e300))]);
    let (rich, poor) = (Listed { search_attributes: &rich, ..run("rich", None) }, run("poor", None));
    for text in ["ORDER BY Total", "ORDER BY Rate"] {
        let order = parse_list(text).unwrap().order;
        assert!(poor.order_key(&order) < rich.order_key(&order), "{text}");
    }
}
