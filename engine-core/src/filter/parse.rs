//! From words to a filter.

use super::lex::{Token, Word, error, lex};
use super::{
    Attribute, Column, Comparison, Condition, Filter, Kind, Number, Order, Subject, SyntaxError, Value, instant,
};
use crate::event::CloseStatus;
use crate::ids::RunId;
use crate::limits;
use crate::search::{SearchType, SearchTypes, words_of};

/// What a list of workflows asks for. `attributes` are those that are registered in the namespace.
pub fn parse_list(text: &str, attributes: &SearchTypes) -> Result<Filter, SyntaxError> {
    parse_list_of(Subject::Workflows, text, attributes)
}

/// What a list asks for. `attributes` are those that are registered in the namespace.
pub fn parse_list_of(subject: Subject, text: &str, attributes: &SearchTypes) -> Result<Filter, SyntaxError> {
    let mut parser = Parser::new(subject, text, attributes)?;
    let condition = parser.condition_if_any()?;
    let order = if parser.takes_name("ORDER") { parser.order()? } else { Order::default() };
    parser.end("AND, OR or ORDER BY")?;
    Ok(Filter { condition, order, group_by: None })
}

/// What a count of workflows asks for. `attributes` are those that are registered in the namespace.
pub fn parse_count(text: &str, attributes: &SearchTypes) -> Result<Filter, SyntaxError> {
    parse_count_of(Subject::Workflows, text, attributes)
}

/// What a count asks for. `attributes` are those that are registered in the namespace.
pub fn parse_count_of(subject: Subject, text: &str, attributes: &SearchTypes) -> Result<Filter, SyntaxError> {
    let mut parser = Parser::new(subject, text, attributes)?;
    let condition = parser.condition_if_any()?;
    let group_by = if parser.takes_name("GROUP") { Some(parser.group()?) } else { None };
    parser.end("AND, OR or GROUP BY")?;
    Ok(Filter { condition, order: Order::default(), group_by })
}

struct Parser<'a> {
    subject: Subject,
    text: &'a str,
    attributes: &'a SearchTypes,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    conditions: usize,
}

impl<'a> Parser<'a> {
    fn new(subject: Subject, text: &'a str, attributes: &'a SearchTypes) -> Result<Self, SyntaxError> {
        if text.len() > limits::FILTER_BYTES_MAX {
            let limit = limits::FILTER_BYTES_MAX;
            return Err(error("", 0, format!("the filter is {} bytes long; the limit is {limit} bytes", text.len())));
        }
        Ok(Self { subject, text, attributes, tokens: lex(text)?, next: 0, depth: 0, conditions: 0 })
    }

    fn token(&self) -> &Token {
        // The last is the end, which is never taken.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.token().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(&self.token().word, Word::Name(word) if word.eq_ignore_ascii_case(name))
    }

    fn takes_name(&mut self, name: &str) -> bool {
        let is_name = self.is_name(name);
        if is_name {
            self.take();
        }
        is_name
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_sign = matches!(self.token().word, Word::Sign(word) if word == sign);
        if is_sign {
            self.take();
        }
        is_sign
    }

    fn expect_name(&mut self, name: &str) -> Result<(), SyntaxError> {
        if self.takes_name(name) { Ok(()) } else { Err(self.expected(name)) }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.expected(&format!("{sign:?}"))) }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let found = match &self.token().word {
            Word::Name(name) => name.clone(),
            Word::Text(text) => format!("the text {text:?}"),
            Word::Number(number) => number.clone(),
            Word::Sign(sign) => format!("{sign:?}"),
            Word::End => "the end".to_owned(),
        };
        error(self.text, self.token().at, format!("expected {what}, but found {found}"))
    }

    fn end(&self, more: &str) -> Result<(), SyntaxError> {
        if self.token().word == Word::End { Ok(()) } else { Err(self.expected(&format!("{more}, or the end"))) }
    }

    fn condition_if_any(&mut self) -> Result<Option<Condition>, SyntaxError> {
        let is_empty = self.token().word == Word::End || self.is_name("ORDER") || self.is_name("GROUP");
        if is_empty { Ok(None) } else { self.any().map(Some) }
    }

    fn any(&mut self) -> Result<Condition, SyntaxError> {
        let first = self.all()?;
        if !self.is_name("OR") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.takes_name("OR") {
            parts.push(self.all()?);
        }
        Ok(Condition::Any(parts))
    }

    fn all(&mut self) -> Result<Condition, SyntaxError> {
        let first = self.unary()?;
        if !self.is_name("AND") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.takes_name("AND") {
            parts.push(self.unary()?);
        }
        Ok(Condition::All(parts))
    }

    fn unary(&mut self) -> Result<Condition, SyntaxError> {
        let at = self.token().at;
        self.depth += 1;
        if self.depth > limits::FILTER_DEPTH_MAX {
            let limit = limits::FILTER_DEPTH_MAX;
            return Err(error(
                self.text,
                at,
                format!("more than {limit} parentheses and NOTs stand within each other"),
            ));
        }
        let condition = if self.takes_name("NOT") {
            Condition::Not(Box::new(self.unary()?))
        } else if self.takes_sign("(") {
            let inner = self.any()?;
            self.expect_sign(")")?;
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn condition(&mut self) -> Result<Condition, SyntaxError> {
        let at = self.token().at;
        self.conditions += 1;
        if self.conditions > limits::FILTER_CONDITIONS_MAX {
            let limit = limits::FILTER_CONDITIONS_MAX;
            return Err(error(self.text, at, format!("there are more than {limit} conditions")));
        }
        let column = self.column()?;
        if self.takes_name("IS") {
            let is_not = self.takes_name("NOT");
            self.expect_name("NULL")?;
            return Ok(negated(is_not, Condition::IsNull(column)));
        }
        let operator = self.token().clone();
        if let Word::Sign(sign) = operator.word
            && let Some(comparison) = comparison(sign)
        {
            self.take();
            if !matches!(comparison, Comparison::Equal | Comparison::Unequal) {
                self.check_ordered(&column, operator.at)?;
            }
            let value = self.value(&column)?;
            return Ok(Condition::Compare(column, comparison, value));
        }
        let is_not = self.takes_name("NOT");
        let condition = if self.takes_name("IN") {
            self.expect_sign("(")?;
            let mut values = vec![self.value(&column)?];
            while self.takes_sign(",") {
                values.push(self.value(&column)?);
                self.check_values(values.len())?;
            }
            self.expect_sign(")")?;
            Condition::In(column, values)
        } else if self.takes_name("BETWEEN") {
            self.check_ordered(&column, operator.at)?;
            let low = self.value(&column)?;
            self.expect_name("AND")?;
            let high = self.value(&column)?;
            Condition::Between(column, low, high)
        } else if self.takes_name("STARTS_WITH") {
            if !matches!(column.kind(), Kind::Text | Kind::Words | Kind::Prose) {
                return Err(error(self.text, operator.at, format!("{column} is no text, so it starts with nothing")));
            }
            let Word::Text(prefix) = self.token().word.clone() else { return Err(self.expected("a text in quotes")) };
            self.take();
            Condition::StartsWith(column, prefix)
        } else {
            return Err(self.expected("=, !=, <, <=, >, >=, IN, BETWEEN, STARTS_WITH or IS NULL"));
        };
        Ok(negated(is_not, condition))
    }

    fn check_values(&self, count: usize) -> Result<(), SyntaxError> {
        if count <= limits::FILTER_VALUES_MAX {
            return Ok(());
        }
        let limit = limits::FILTER_VALUES_MAX;
        Err(error(self.text, self.token().at, format!("there are more than {limit} values in one IN")))
    }

    /// A status is one or another, not more or less.
    fn check_ordered(&self, column: &Column, at: usize) -> Result<(), SyntaxError> {
        if has_order(column.kind()) {
            return Ok(());
        }
        Err(error(self.text, at, format!("{column} has no order: compare it with =, !=, IN or NOT IN")))
    }

    fn column(&mut self) -> Result<Column, SyntaxError> {
        let Word::Name(name) = &self.token().word else { return Err(self.expected("the name of a column")) };
        let Some(column) = Column::of_name(name, self.subject).or_else(|| self.attribute(name)) else {
            return Err(error(self.text, self.token().at, self.no_column(name)));
        };
        self.take();
        Ok(column)
    }

    fn attribute(&self, name: &str) -> Option<Column> {
        let (name, search_type) =
            self.attributes.iter().find(|(known, _)| known.as_str().eq_ignore_ascii_case(name))?;
        Some(Column::Attribute(Attribute { name: name.clone(), search_type: *search_type }))
    }

    fn no_column(&self, name: &str) -> String {
        let columns: Vec<String> = Column::ALL.iter().map(|column| self.subject.name_of(column).to_owned()).collect();
        let columns = columns.join(", ");
        if self.attributes.is_empty() {
            return format!(
                "there is no column {name:?}; there are {columns}, and the namespace has no search attributes registered"
            );
        }
        let attributes: Vec<String> =
            self.attributes.iter().map(|(name, search_type)| format!("{name} ({search_type})")).collect();
        format!("there is no column {name:?}; there are {columns}, and the search attributes {}", attributes.join(", "))
    }

    fn value(&mut self, column: &Column) -> Result<Value, SyntaxError> {
        let token = self.token().clone();
        let wrong = |problem: String| Err(error(self.text, token.at, problem));
        let value = match (column.kind(), &token.word) {
            (Kind::Text, Word::Text(text)) => Value::Text(text.clone()),
            (Kind::Text, _) => return Err(self.expected(&format!("a text in quotes for {column}"))),
            (Kind::Run, Word::Text(text)) => match RunId::parse(text) {
                Ok(run_id) => Value::Run(run_id),
                Err(_) => return wrong(format!("{text:?} is no run id: it must be a UUID")),
            },
            (Kind::Run, _) => return Err(self.expected("a run id in quotes")),
            (Kind::Status, Word::Text(text)) => match status(text) {
                Some(status) => Value::Status(status),
                None => {
                    let names: Vec<&str> = STATUSES.iter().map(|(name, _)| *name).collect();
                    return wrong(format!("{text:?} is no status; there are {}", names.join(", ")));
                }
            },
            (Kind::Status, _) => return Err(self.expected("a status in quotes")),
            (Kind::Time, Word::Text(text)) => match instant::parse(text) {
                Some(at) => Value::Time(at),
                None => {
                    return wrong(format!(
                        "{text:?} is no instant: write it like '2026-11-22' or '2026-11-22T09:30:00Z'"
                    ));
                }
            },
            (Kind::Time, _) => return Err(self.expected("an instant in quotes")),
            (Kind::Int, Word::Number(number)) => match number.parse() {
                Ok(number) => Value::Int(number),
                Err(_) => return wrong(format!("{number} is no integer of 64 bits")),
            },
            (Kind::Int, _) => return Err(self.expected("an integer")),
            (Kind::Double, Word::Number(number)) => match number.parse().ok().and_then(Number::new) {
                Some(number) => Value::Double(number),
                None => return wrong(format!("{number} is no number: write it like 2.5 or 1e6")),
            },
            (Kind::Double, _) => return Err(self.expected("a number")),
            (Kind::Bool, Word::Name(name)) if name.eq_ignore_ascii_case("true") => Value::Bool(true),
            (Kind::Bool, Word::Name(name)) if name.eq_ignore_ascii_case("false") => Value::Bool(false),
            (Kind::Bool, _) => return Err(self.expected("true or false")),
            (Kind::Words, Word::Text(word)) => Value::Words(vec![word.clone()]),
            (Kind::Words, _) => return Err(self.expected(&format!("a text in quotes for {column}"))),
            (Kind::Prose, Word::Text(text)) => match words_of(text) {
                words if words.is_empty() => {
                    return wrong(format!("{text:?} has no word, and {column} is found by words"));
                }
                words => Value::Words(words),
            },
            (Kind::Prose, _) => return Err(self.expected(&format!("words in quotes for {column}"))),
        };
        self.take();
        Ok(value)
    }

    fn order(&mut self) -> Result<Order, SyntaxError> {
        self.expect_name("BY")?;
        let at = self.token().at;
        let column = self.column()?;
        if !has_order(column.kind()) {
            return Err(error(self.text, at, format!("{column} has no order")));
        }
        let descending = self.takes_name("DESC");
        if !descending {
            self.takes_name("ASC");
        }
        if self.takes_sign(",") {
            return Err(error(self.text, at, "runs are ordered by one column"));
        }
        Ok(Order { column, descending })
    }

    fn group(&mut self) -> Result<Column, SyntaxError> {
        self.expect_name("BY")?;
        let at = self.token().at;
        let column = self.column()?;
        let is_group = match &column {
            Column::Status | Column::WorkflowType | Column::TaskQueue => true,
            Column::WorkflowId | Column::RunId | Column::StartTime | Column::CloseTime | Column::HistoryLength => false,
            Column::Attribute(attribute) => {
                matches!(attribute.search_type, SearchType::Keyword | SearchType::Int | SearchType::Bool)
            }
        };
        if is_group {
            return Ok(column);
        }
        let problem = format!(
            "runs are not grouped by {column}: use Status, WorkflowType, TaskQueue, or a search attribute of type Keyword, Int or Bool"
        );
        Err(error(self.text, at, problem))
    }
}

/// Whether values of this kind are more or less than each other.
fn has_order(kind: Kind) -> bool {
    match kind {
        Kind::Text | Kind::Run | Kind::Time | Kind::Int | Kind::Double => true,
        Kind::Status | Kind::Bool | Kind::Words | Kind::Prose => false,
    }
}

fn negated(is_not: bool, condition: Condition) -> Condition {
    if is_not { Condition::Not(Box::new(condition)) } else { condition }
}

fn comparison(sign: &str) -> Option<Comparison> {
    Some(match sign {
        "=" => Comparison::Equal,
        "!=" => Comparison::Unequal,
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Greater,
        ">=" => Comparison::AtLeast,
        _ => return None,
    })
}

const STATUSES: [(&str, Option<CloseStatus>); 7] = [
    ("Running", None),
    ("Completed", Some(CloseStatus::Completed)),
    ("Failed", Some(CloseStatus::Failed)),
    ("Canceled", Some(CloseStatus::Canceled)),
    ("Terminated", Some(CloseStatus::Terminated)),
    ("TimedOut", Some(CloseStatus::TimedOut)),
    ("ContinuedAsNew", Some(CloseStatus::ContinuedAsNew)),
];

fn status(name: &str) -> Option<Option<CloseStatus>> {
    STATUSES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, status)| *status)
}

/// The name under which filters know a status.
pub(super) fn status_name(status: Option<CloseStatus>) -> &'static str {
    STATUSES.iter().find(|(_, known)| *known == status).map_or("Unknown", |(name, _)| name)
}
