//! One bad request each, and how it must be refused.

use std::future::Future;
use std::pin::Pin;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A call that must be refused.
pub(crate) struct Case {
    /// Service and method.
    pub(crate) call: &'static str,
    send: Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>,
    code: Code,
    /// What the message begins with. For INVALID_ARGUMENT: the field and what is wrong with it.
    message: String,
}

impl Case {
    pub(crate) fn new<T>(
        call: &'static str,
        send: impl Future<Output = Result<T, Status>> + Send + 'static,
        code: Code,
        message: impl Into<String>,
    ) -> Self {
        let send = Box::pin(async move { send.await.map(drop) });
        Self { call, send, code, message: message.into() }
    }

    /// `Err` says what is wrong with the answer.
    pub(crate) async fn check(self) -> Result<(), String> {
        let Case { call, send, code, message } = self;
        let Err(refusal) = send.await else {
            return Err(format!("{call} accepted what should be refused with {message:?}"));
        };
        let said = refusal.message();
        // A filter's syntax error shows the place on lines of its own.
        let sentence = said.split('\n').next().unwrap_or_default();
        let field = refusal.get_details_bad_request().map(|details| details.field_violations);
        let field = field.as_deref().and_then(|fields| match fields {
            [one] => Some(one.field.as_str()),
            _ => None,
        });
        let claims = [
            ("has another code", refusal.code() == code),
            ("begins otherwise", said.starts_with(&message)),
            ("is no short sentence", !sentence.is_empty() && sentence.len() < 400),
            ("is a debug print", !said.contains("Some(") && !said.contains("{ ")),
            (
                "does not begin with the field of its details",
                code != Code::InvalidArgument || field.is_some_and(|field| said.starts_with(&format!("{field}: "))),
            ),
            (
                "does not say in its details what it is about",
                !matches!(code, Code::NotFound | Code::AlreadyExists) || refusal.get_details_resource_info().is_some(),
            ),
        ];
        match claims.into_iter().find(|(_, holds)| !holds) {
            Some((wrong, _)) => {
                Err(format!("{call} should be refused with {code:?} {message:?}, and the answer {wrong}: {refusal:?}"))
            }
            None => Ok(()),
        }
    }
}

/// A case for each request: `refused!(cases, client, "Service.Method", method, [request => Code, "message";])`.
macro_rules! refused {
    ($cases:expr, $client:expr, $call:literal, $method:ident, [$($request:expr => $code:ident, $message:expr;)+]) => {
        $({
            let (mut client, request) = ($client.clone(), $request);
            $cases.push($crate::cases::Case::new(
                $call,
                async move { client.$method(request).await },
                tonic::Code::$code,
                $message,
            ));
        })+
    };
}

pub(crate) use refused;

/// One byte more than an id may have.
pub(crate) fn long() -> String {
    "x".repeat(1001)
}

/// What all ids say that are too long.
pub(crate) const TOO_LONG: &str = "is 1001 bytes long; the limit is 1000 bytes";

/// More than a payload may have.
pub(crate) fn large() -> engine_proto::v1::Payload {
    engine_proto::v1::Payload { data: vec![b'7'; 2 * 1024 * 1024 + 1].into(), ..Default::default() }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// The cases that each call about a run has: `$good` names the open run `w`.
macro_rules! about_runs {
    ($cases:expr, $client:expr, $call:literal, $method:ident, $good:expr) => {{
        let with = |namespace: &str, workflow_id: &str, run_id: &str| {
            let mut request = $good;
            request.namespace = namespace.to_owned();
            request.execution =
                Some(engine_proto::v1::WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() });
            request
        };
        let mut unnamed = $good;
        unnamed.execution = None;
        let long = $crate::cases::long();
        let unknown = "018f0000-0000-7000-8000-000000000001";
        $crate::cases::refused!($cases, $client, $call, $method, [
            with("", "w", "") => InvalidArgument, "namespace: must not be empty";
            with(&long, "w", "") => InvalidArgument, format!("namespace: {}", $crate::cases::TOO_LONG);
            with("nowhere", "w", "") => NotFound, "namespace \"nowhere\" not found";
            unnamed => InvalidArgument, "execution: must be set";
            with("default", "", "") => InvalidArgument, "execution.workflow_id: must not be empty";
            with("default", &long, "") => InvalidArgument, format!("execution.workflow_id: {}", $crate::cases::TOO_LONG);
            with("default", "a\u{0}b", "") => InvalidArgument, "execution.workflow_id: contains a control character at byte 1";
            with("default", "w", "7") => InvalidArgument, "execution.run_id: ";
            with("default", "nobody", "") => NotFound, "workflow \"nobody\" not found";
            with("default", "w", unknown) => NotFound, format!("run {unknown:?} not found");
        ]);
    }};
}

pub(crate) use about_runs;
