//! What is refused, what only looks like it, and how far an attribute allows.

use super::*;

fn refused(code: &str) -> Vec<String> {
    let (_, errors) = check(code.parse().expect("tokens"));
    errors.iter().map(ToString::to_string).collect()
}

/// That exactly one thing is refused, and its path.
#[track_caller]
fn check_refused(code: &str, path: &str) {
    let refused = refused(code);
    assert_eq!(refused.len(), 1, "{code}: {refused:?}");
    assert!(refused[0].starts_with(&format!("`{path}`")), "{code}: {refused:?}");
}

#[track_caller]
fn check_fine(code: &str) {
    assert_eq!(refused(code), [""; 0], "{code}");
}

#[test]
fn calls_that_break_replay_are_refused_wherever_they_stand() {
    check_refused("let at = SystemTime::now();", "SystemTime::now");
    check_refused("let at = std::time::Instant::now();", "std::time::Instant::now");
    check_refused("let at = known.unwrap_or_else(SystemTime::now);", "SystemTime::now");
    check_refused("if late { return ::std::thread::sleep(d); }", "std::thread::sleep");
    check_refused("select! { _ = tokio::time::sleep(d) => {} }", "tokio::time::sleep");
    check_refused(
        "let both = join!(ctx.sleep(d), async { tokio::time::timeout(d, f).await });",
        "tokio::time::timeout",
    );
    check_refused("tokio::select! { a = b => {} }", "tokio::select");
    check_refused("futures::select! { a = b => {} }", "futures::select");
    check_refused("if rand::random() { }", "rand::random");
    check_refused("let die = rand::rng().random_range(1..7);", "rand::rng");
    check_refused("let die = thread_rng().gen_range(1..7);", "thread_rng");
    check_refused("let die = fastrand::u8(1..7);", "fastrand::u8");
    check_refused("let id = { uuid::Uuid::new_v4() };", "uuid::Uuid::new_v4");
    check_refused("let home = std::env::var(name);", "std::env::var");
    check_refused("tokio::spawn(async {});", "tokio::spawn");
    check_refused("let text = std::fs::read_to_string(path)?;", "std::fs::read_to_string");
    check_refused("let late = ctx.now().elapsed()? > limit;", "elapsed()");
    check_refused("ctx.on_update(|deposit: Deposit| async move { Utc::now() });", "Utc::now");
}

#[test]
fn a_refusal_names_what_to_use_and_how_to_allow_it() {
    assert_eq!(
        refused("tokio::time::sleep(d).await;"),
        ["`tokio::time::sleep` waits in this process, which the run outlives: use ctx.sleep(..) or ctx.timeout(..); \
          `#[allow_nondeterminism]` above the statement allows it where it cannot reach a command"]
    );
}

#[test]
fn what_only_looks_like_them_is_not() {
    check_fine("let at = ctx.now();");
    check_fine("let now = order.env.var;");
    check_fine("let rand = 4; rand + 1;");
    check_fine("let random = rand::rngs::StdRng::seed_from_u64(ctx.random_u64());");
    check_fine("let random = fastrand::Rng::with_seed(ctx.random_u64());");
    check_fine("let pause: tokio::time::Duration = seconds(3);");
    check_fine("async fn w(ctx: C, host: std::net::IpAddr) { ctx.sleep(seconds(1)).await; }");
    check_fine("let time = my::tokio::time::later();");
    check_fine("select! { a = b => {} }");
    check_fine("let (a, b) = join!(a, b); join_all(calls).await;");
    check_fine("let (sender, receiver) = tokio::sync::oneshot::channel();");
    check_fine("let elapsed = timer.elapsed; elapsed(timer); watch.elapsed(unit);");
    check_fine("let text = \"std::env::var\"; // SystemTime::now()");
}

#[test]
fn the_closure_of_a_step_may_do_all_of_it() {
    check_fine("ctx.step(name, || async { Ok(SystemTime::now()) }).await?;");
    check_fine(
        "let rate = scope.step::<u64, _, _>(\"rate\", || async { tokio::time::sleep(d).await; Ok(rand::random()) });",
    );
    // What stands around it may not.
    check_refused("ctx.step(name, || async { Ok(1) }).timeout(started.elapsed()).await?;", "elapsed()");
    check_refused("numbers.step_by(rand::random());", "rand::random");
}

#[test]
fn imports_in_the_code_are_followed() {
    check_refused("{ use std::time::SystemTime as Clock; let at = Clock::now(); }", "std::time::SystemTime::now");
    check_refused("use tokio::time::{sleep, Duration}; sleep(Duration::from_secs(1)).await;", "tokio::time::sleep");
    check_refused("use std::thread::{self}; thread::yield_now();", "std::thread::yield_now");
    check_refused("use tokio::time as later; { later::interval(d) }", "tokio::time::interval");
    check_refused("use tokio::select; select! { a = b => {} }", "tokio::select");
    check_refused("use tokio::time::*;", "tokio::time");
    // An import alone does nothing, and ends with its block.
    check_fine("use tokio::time::sleep; ctx.step(name, || async { Ok(sleep(d).await) }).await?;");
    check_fine("{ use tokio::time::sleep; } sleep(&ctx).await;");
    check_fine("fn all<'a>(&'a self) -> impl Iterator + use<'a> { self.all() }");
}

#[test]
fn going_over_hashes_is_refused_where_the_type_is_seen() {
    check_refused("let map = HashMap::new(); for x in &map { }", "map");
    check_refused("let mut seen: HashSet<u64> = given; for x in seen { }", "seen");
    check_refused("async fn w(ctx: C, rates: HashMap<String, u64>) { for (k, v) in rates.iter() { } }", "rates");
    check_refused("async fn w(ctx: C, rates: &'a mut HashMap<u8, u8>) { for v in rates.values_mut() { } }", "rates");
    check_refused(
        "let map = std::collections::HashMap::from(x); let all: Vec<_> = map.clone().into_values().collect();",
        "map",
    );
    check_refused("let set = names.into_iter().collect::<HashSet<_>>(); join_all(set.iter().map(call)).await;", "set");
    check_refused("use std::collections::HashMap as Map; let map = Map::new(); for x in &mut map { }", "map");
}

#[test]
fn hashes_whose_order_does_not_matter_are_fine() {
    check_fine("let map = BTreeMap::new(); for x in &map {}");
    check_fine("let map = HashMap::new(); map.get(&key);");
    check_fine("let map = HashMap::new(); if map.values().any(|rate| *rate > 3) { }");
    check_fine("let map = HashMap::new(); let best = map.values().max();");
    check_fine(
        "async fn w(map: HashMap<u8, u8>) { let map: BTreeMap<_, _> = map.into_iter().collect(); for x in &map {} }",
    );
    check_fine("let map = HashMap::new(); let mut keys: Vec<_> = map.keys().collect(); keys.sort();");
    check_fine("let all: Vec<HashMap<u8, u8>> = given; for one in &all { }");
    check_fine("let count = names.collect::<HashSet<_>>().len(); for x in count { }");
    // Another function's variable.
    check_fine("fn a(map: HashMap<u8, u8>) { } fn b(map: Vec<u8>) { for x in map { } }");
    check_fine("{ let map = HashMap::new(); } for x in map { }");
    check_fine("order.map.iter(); let order = Order { map: HashMap::new() }; for x in &order.map { }");
}

#[test]
fn the_attribute_allows_one_statement_and_is_taken_away() {
    let code = "#[allow_nondeterminism] let at = SystemTime::now(); let later = Instant::now();";
    let (kept, errors) = check(code.parse().expect("tokens"));
    assert_eq!(errors.len(), 1);
    assert!(!kept.to_string().contains(ALLOW), "{kept}");
    check_refused(code, "Instant::now");
    check_fine("#[engine_sdk::allow_nondeterminism] std::thread::park();");
}

#[test]
fn what_is_allowed_ends_where_its_statement_does() {
    check_refused(
        "#[allow_nondeterminism] let at = if late { a } else { SystemTime::now() }; Instant::now();",
        "Instant::now",
    );
    check_refused(
        "#[allow_nondeterminism] if rand::random() { } else if rand::random() { rand::random() } Instant::now();",
        "Instant::now",
    );
    check_refused("#[allow_nondeterminism] for x in rand::random_iter() { } Instant::now()", "Instant::now");
    check_refused(
        "#[allow_nondeterminism] at = if late { a } else { SystemTime::now() }; Instant::now()",
        "Instant::now",
    );
    check_refused("match x { #[allow_nondeterminism] A => SystemTime::now(), B => Instant::now(), }", "Instant::now");
    check_refused(
        "match x { #[allow_nondeterminism] A => { SystemTime::now() } B => Instant::now(), }",
        "Instant::now",
    );
    check_refused("Order { #[allow_nondeterminism] at: SystemTime::now(), late: Instant::now() }", "Instant::now");
    check_refused("log(#[allow_nondeterminism] SystemTime::now(), Instant::now());", "Instant::now");
}

#[test]
fn an_item_that_is_allowed_ends_at_its_brace_and_queries_are_allowed() {
    check_refused(
        "#[allow_nondeterminism] pub(crate) async fn run(&mut self) { rand::random() } \
         #[query] fn age(&self) -> Duration { Utc::now() } fn pay(&mut self) { Local::now() }",
        "Local::now",
    );
}
