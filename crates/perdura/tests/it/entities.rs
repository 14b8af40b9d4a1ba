//! Entities: on the test harness, and on an engine with an SQLite file.

use perdura::prelude::*;
use perdura::testing::TestRun;
use perdura::{EntityId, Timestamp, failure::kind};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Default, Serialize, Deserialize, Debug, PartialEq)]
struct Counter {
    value: i64,
    /// Delivery counts of its operations so far.
    deliveries: Vec<u32>,
}

#[entity]
impl Counter {
    /// Adds, and says what the sum is.
    pub fn add(&mut self, amount: i64) -> Result<i64> {
        self.value += amount;
        if amount > 1000 {
            return Err(Error::new("TooMuch", format!("{amount} at once")));
        }
        Ok(self.value)
    }

    pub async fn count(&mut self, ctx: EntityContext) -> Result<()> {
        tokio::task::yield_now().await;
        self.deliveries.push(ctx.delivery());
        Ok(())
    }

    pub fn get(&self) -> Result<i64> {
        Ok(self.value)
    }

    pub fn tell(&mut self, ctx: EntityContext, other: String) -> Result<()> {
        ctx.signal::<Counter>(&other).add(self.value)?;
        ctx.start(echo, &format!("told-{other}"), "told".to_owned())
    }

    pub fn tell_and_fail(&mut self, ctx: EntityContext, other: String) -> Result<()> {
        self.value = -1;
        ctx.signal::<Counter>(&other).add(self.value)?;
        panic!("after all that")
    }

    pub fn grow(&mut self, ctx: EntityContext) -> Result<()> {
        assert!(self.helper() && ctx.key() == "large");
        self.deliveries = vec![1_000_000_000; 1 << 20];
        Ok(())
    }

    pub fn say_much(&mut self) -> Result<String> {
        self.value = -1;
        Ok("x".repeat(5 << 20))
    }

    pub fn send_much(&mut self, ctx: EntityContext) -> Result<()> {
        self.value = -1;
        ctx.signal::<Counter>("c").tell("x".repeat(5 << 20))
    }

    pub fn start_much(&mut self, ctx: EntityContext) -> Result<()> {
        self.value = -1;
        ctx.start(echo, "big", "x".repeat(5 << 20))
    }

    pub fn send_far(&mut self, ctx: EntityContext) -> Result<()> {
        self.value = -1;
        ctx.signal_at::<Counter>("c", Timestamp::MAX).add(1)
    }

    pub fn start_badly(&mut self, ctx: EntityContext) -> Result<()> {
        self.value = -1;
        ctx.start(echo, "@Counter@c", String::new())
    }

    pub fn signal_badly(&mut self, ctx: EntityContext) -> Result<()> {
        self.value = -1;
        ctx.signal::<Counter>("").add(1)
    }

    pub fn reset(&mut self, ctx: EntityContext) -> Result<()> {
        ctx.delete_state();
        Ok(())
    }

    fn helper(&self) -> bool {
        self.value == 0
    }
}

#[orchestration]
async fn echo(_ctx: Orchestration, text: String) -> Result<String> {
    Ok(text)
}

#[orchestration]
async fn calls(ctx: Orchestration) -> Result<(i64, i64, String)> {
    let counter = ctx.entity::<Counter>("a");
    counter.add(3).await?;
    let refused = counter.add(2000).await.unwrap_err();
    ctx.signal::<Counter>("b").add(5)?;
    Ok((counter.get().await?, counter.add(4).await?, refused.kind().to_owned()))
}

#[tokio::test]
async fn a_call_gives_the_result_and_a_failed_one_leaves_no_trace() {
    let end = TestRun::new(calls, ()).entity::<Counter>().run().await;
    assert_eq!(end.output().unwrap(), (3, 7, "TooMuch".into()));
    assert_eq!(end.entity::<Counter>("a").unwrap().value, 7);
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[entity(name = "bank.account")]
impl Account {
    pub fn deposit(&mut self, cents: i64) -> Result<i64> {
        self.balance += cents;
        Ok(self.balance)
    }

    pub fn balance(&self) -> Result<i64> {
        Ok(self.balance)
    }
}

#[orchestration]
async fn misuse(ctx: Orchestration) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let mut says = |error: Error| said.push(error.to_string());
    says(ctx.lock([]).await.unwrap_err());
    says(ctx.lock([Account::at("a"), Account::at("a")]).await.unwrap_err());
    says(ctx.lock((0..101).map(|n| Account::at(&n.to_string()))).await.unwrap_err());
    says(ctx.lock([Account::at("")]).await.unwrap_err());
    says(ctx.entity::<Account>("").balance().await.unwrap_err());
    says(ctx.signal::<Account>("a\0").deposit(1).unwrap_err());
    let held = ctx.lock([Account::at("b"), Account::at("a")]).await?;
    says(ctx.lock([Account::at("c")]).await.unwrap_err());
    says(ctx.entity::<Account>("c").balance().await.unwrap_err());
    says(ctx.signal::<Account>("a").deposit(1).unwrap_err());
    ctx.signal::<Account>("c").deposit(1)?;
    ctx.entity::<Account>("a").deposit(7).await?;
    held.unlock();
    ctx.entity::<Account>("c").balance().await?;
    Ok(said)
}

#[tokio::test]
async fn misuse_of_entities_is_an_error_that_says_what_to_do() {
    let end = TestRun::new(misuse, ()).entity::<Account>().run().await;
    let said = end.output().unwrap();
    assert_eq!(
        said,
        [
            "a lock of no entity",
            "entity \"@bank.account@a\" is locked twice",
            "entities in one critical section: 101, limit 100",
            "entity key must not be empty",
            "entity key must not be empty",
            "entity key: control character at byte 1",
            "a critical section inside a critical section; lock all entities at once",
            "call of \"@bank.account@c\" inside a critical section that does not hold it; lock it with the others, or call it \
             before or after",
            "signal to \"@bank.account@a\", which the critical section holds: it would wait for the section to end; call it",
        ]
    );
    assert_eq!(end.entity::<Account>("a").unwrap().balance, 7);
}

#[orchestration]
async fn holds(ctx: Orchestration, key: String) -> Result<()> {
    let _held = ctx.lock([Account::at(&key)]).await?;
    ctx.wait_event::<()>("go").await?;
    ctx.entity::<Account>(&key).deposit(10).await?;
    Ok(())
}

#[orchestration]
async fn impatient(ctx: Orchestration, key: String) -> Result<String> {
    match select(ctx.lock([Account::at(&key)]), ctx.timer(Duration::from_millis(50))).await {
        Either::First(..) => Ok("held".into()),
        Either::Second(..) => Ok("gave up".into()),
    }
}

struct Hub {
    engine: Engine,
    directory: tempfile::TempDir,
}

impl Hub {
    async fn new() -> Hub {
        let directory = tempfile::tempdir().unwrap();
        let engine = Hub::open(&directory).await;
        Hub { engine, directory }
    }

    async fn open(directory: &tempfile::TempDir) -> Engine {
        Engine::sqlite(directory.path().join("hub.db"))
            .entity::<Counter>()
            .entity::<Account>()
            .register(echo)
            .register(calls)
            .register(holds)
            .register(impatient)
            .register(misuse)
            .register(get)
            .register(overdo)
            .start()
            .await
            .unwrap()
    }

    async fn again(self) -> Hub {
        self.engine.shutdown().await;
        let engine = Hub::open(&self.directory).await;
        Hub { engine, directory: self.directory }
    }

    /// Runs an orchestration that calls the entity: what was sent before it has run when this returns.
    async fn catch_up(&self, key: &str) -> i64 {
        self.engine.run(get, key.to_owned()).await.unwrap()
    }
}

#[orchestration]
async fn get(ctx: Orchestration, key: String) -> Result<i64> {
    ctx.entity::<Counter>(&key).get().await
}

#[tokio::test]
async fn an_engine_runs_calls_and_signals_and_keeps_the_state() {
    let hub = Hub::new().await;
    assert_eq!(hub.engine.run(calls, ()).await.unwrap(), (3, 7, "TooMuch".into()));
    hub.engine.signal::<Counter>("a").count().await.unwrap();
    let hub = hub.again().await;
    hub.engine.signal::<Counter>("a").add(1).await.unwrap();
    assert_eq!(hub.catch_up("a").await, 8);
    let counter = hub.engine.entity::<Counter>("a").read().await.unwrap().unwrap();
    assert_eq!(counter, Counter { value: 8, deliveries: vec![1] });
    assert_eq!(hub.engine.entity::<Counter>("b").read().await.unwrap().unwrap().value, 5);
    assert_eq!(hub.engine.entity::<Counter>("nobody").read().await.unwrap(), None);
}

#[tokio::test]
async fn what_an_operation_sends_arrives_unless_it_fails() {
    let hub = Hub::new().await;
    hub.engine.signal::<Counter>("a").add(3).await.unwrap();
    hub.engine.signal::<Counter>("a").tell("b".into()).await.unwrap();
    hub.engine.signal::<Counter>("a").tell_and_fail("c".into()).await.unwrap();
    assert_eq!(hub.catch_up("a").await, 3);
    assert_eq!(hub.catch_up("b").await, 3);
    assert_eq!(hub.engine.instance("told-b").wait::<String>().await.unwrap(), "told");
    assert_eq!(hub.catch_up("c").await, 0);
}

#[orchestration]
async fn overdo(ctx: Orchestration) -> Result<Vec<String>> {
    let (a, large) = (ctx.entity::<Counter>("a"), ctx.entity::<Counter>("large"));
    a.add(5).await?;
    let refusals = [
        large.grow().await.unwrap_err(),
        a.say_much().await.map(drop).unwrap_err(),
        a.send_much().await.unwrap_err(),
        a.start_much().await.unwrap_err(),
        a.send_far().await.unwrap_err(),
        a.start_badly().await.unwrap_err(),
        a.signal_badly().await.unwrap_err(),
        a.tell("x".repeat(5 << 20)).await.unwrap_err(),
        ctx.signal_at::<Counter>("a", Timestamp::MAX).add(1).unwrap_err(),
    ];
    assert_eq!(a.get().await?, 5, "an operation that failed has left a trace");
    Ok(refusals.iter().map(|error| format!("{}: {error}", error.kind())).collect())
}

#[tokio::test]
async fn what_is_over_a_limit_is_an_error_that_names_it_and_leaves_no_trace() {
    let hub = Hub::new().await;
    let started = hub.engine.start(overdo, ()).id("overdo").await.unwrap();
    assert_eq!(
        started.wait().await.unwrap(),
        [
            "perdura.Limit: state of the entity: 11534362 bytes, limit 4194304",
            "perdura.Limit: output of the operation: 5242882 bytes, limit 4194304",
            "perdura.Limit: input of the signal to \"@Counter@c\": 5242882 bytes, limit 4194304",
            "perdura.Limit: input of the start of \"big\": 5242882 bytes, limit 4194304",
            "perdura.Limit: signal to \"@Counter@c\": more than ten years ahead",
            "perdura.InvalidArgument: instance id: the prefix \"@\" is reserved",
            "perdura.InvalidArgument: entity key must not be empty",
            "perdura.Limit: input of \"overdo\": 5242882 bytes, limit 4194304",
            "perdura.Limit: signal: more than ten years ahead",
        ]
    );
    assert_eq!(hub.engine.entity::<Counter>("c").get().await.unwrap(), None);
    assert_eq!(hub.engine.entity::<Counter>("large").get().await.unwrap(), None);
}

#[tokio::test]
async fn what_clients_get_wrong_is_an_error_that_names_it() {
    let hub = Hub::new().await;
    let signal = |key: &str| hub.engine.signal::<Counter>(key);
    let far = Timestamp::MAX;
    let refusals = [
        signal("").add(1).await.unwrap_err(),
        signal("a\nb").add(1).await.unwrap_err(),
        signal(&"k".repeat(600)).add(1).await.unwrap_err(),
        signal("a").add(1).request_id("r".repeat(2000)).await.unwrap_err(),
        signal("a").add(1).at(far).await.unwrap_err(),
        signal("a").tell("x".repeat(5 << 20)).await.unwrap_err(),
        hub.engine.entity::<Counter>("").read().await.unwrap_err(),
        hub.engine.entity::<Counter>("").delete().await.unwrap_err(),
        hub.engine.start(echo, String::new()).id("@Counter@a").await.unwrap_err(),
    ];
    let far = far.to_string();
    let expected = [
        "entity key must not be empty",
        "entity key: control character at byte 1",
        "entity key: 600 bytes, limit 503",
        "request id: 2000 bytes, limit 1024",
        &format!("entity \"@Counter@a\", signal at {far}: more than ten years ahead"),
        "entity \"@Counter@a\", input: 5242882 bytes, limit 4194304",
        "entity key must not be empty",
        "entity key must not be empty",
        "instance id: the prefix \"@\" is reserved",
    ];
    assert_eq!(refusals.map(|error| error.to_string()), expected);
    assert_eq!(hub.engine.entity::<Counter>("a").get().await.unwrap(), None);
}

#[tokio::test]
async fn a_signal_that_the_entity_cannot_run_changes_nothing_and_holds_up_no_other() {
    #[derive(Default, Serialize, Deserialize)]
    struct Other {}
    #[entity(name = "Counter")]
    impl Other {
        pub fn later(&mut self) -> Result<()> {
            Ok(())
        }

        pub fn add(&mut self, text: String) -> Result<String> {
            Ok(text)
        }
    }
    let hub = Hub::new().await;
    hub.engine.signal::<Other>("a").later().await.unwrap();
    hub.engine.signal::<Other>("a").add("three".into()).await.unwrap();
    assert_eq!(hub.catch_up("a").await, 0);
    assert_eq!(hub.engine.entity::<Counter>("a").get().await.unwrap(), None);
    hub.engine.signal::<Counter>("a").add(3).await.unwrap();
    assert_eq!(hub.catch_up("a").await, 3);
}

#[tokio::test]
async fn a_state_over_the_limit_is_refused_and_the_entity_goes_on() {
    let hub = Hub::new().await;
    hub.engine.signal::<Counter>("large").grow().await.unwrap();
    hub.engine.signal::<Counter>("large").add(2).await.unwrap();
    assert_eq!(hub.catch_up("large").await, 2);
}

#[tokio::test]
async fn an_entity_without_state_is_not_there() {
    let hub = Hub::new().await;
    let counter = hub.engine.entity::<Counter>("a");
    hub.engine.signal::<Counter>("a").add(1).await.unwrap();
    hub.catch_up("a").await;
    hub.engine.signal::<Counter>("a").reset().await.unwrap();
    hub.engine.run(echo, String::new()).await.unwrap();
    while counter.get().await.unwrap().is_some() {
        hub.engine.run(echo, String::new()).await.unwrap();
    }
    hub.engine.signal::<Counter>("a").add(1).await.unwrap();
    hub.catch_up("a").await;
    counter.delete().await.unwrap();
    assert_eq!(counter.get().await.unwrap(), None);
}

#[tokio::test]
async fn the_same_signal_sent_twice_is_run_once() {
    let hub = Hub::new().await;
    for _ in 0..3 {
        hub.engine.signal::<Counter>("a").add(1).request_id("click").await.unwrap();
    }
    let other = hub.engine.signal::<Counter>("a").add(2).request_id("click").await.unwrap_err();
    assert!(other.to_string().contains("request id \"click\" was used for a different one"), "{other}");
    assert_eq!(hub.catch_up("a").await, 1);
}

#[tokio::test]
async fn who_waits_for_a_lock_and_gives_up_leaves_nothing_behind() {
    let hub = Hub::new().await;
    let holder = hub.engine.start(holds, "a".into()).id("holder").await.unwrap();
    let account = hub.engine.entity::<Account>("a");
    while account.get().await.unwrap().is_none_or(|account| account.locked_by.is_none()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(account.get().await.unwrap().unwrap().locked_by.unwrap().0.as_str(), "holder");
    assert_eq!(
        account.delete().await.unwrap_err().to_string(),
        "entity \"@bank.account@a\" is held by \"holder\"; wait for its critical section to end"
    );
    assert_eq!(hub.engine.run(impatient, "a".into()).await.unwrap(), "gave up");
    let hub = hub.again().await;
    hub.engine.signal::<Account>("a").deposit(5).await.unwrap();
    assert_eq!(hub.engine.entity::<Account>("a").get().await.unwrap().unwrap().backlog, 1);
    hub.engine.instance("holder").raise("go", &()).await.unwrap();
    hub.engine.instance("holder").wait::<()>().await.unwrap();
    assert_eq!(hub.engine.run(impatient, "a".into()).await.unwrap(), "held");
    assert_eq!(hub.engine.entity::<Account>("a").read().await.unwrap().unwrap().balance, 15);
    drop(holder);
}

#[tokio::test]
async fn entities_are_listed_by_name_and_not_among_instances() {
    let hub = Hub::new().await;
    for key in ["a", "b", "c"] {
        hub.engine.signal::<Counter>(key).add(1).await.unwrap();
    }
    hub.engine.signal::<Account>("a").deposit(1).await.unwrap();
    hub.catch_up("a").await;
    let query = || perdura::InstanceQuery { id_prefix: Some("@Counter@".into()), ..Default::default() };
    let found = hub.engine.client().entities(query(), 10, None).await.unwrap();
    let ids: Vec<_> = found.entities.iter().map(|entity| entity.id.clone()).collect();
    assert_eq!(found.next, None);
    assert_eq!(ids, ["a", "b", "c"].map(|key| EntityId::new("Counter", key).unwrap()));
    let listed = hub.engine.list(perdura::InstanceQuery::default(), 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        hub.engine.instance("@Counter@a").get().await.unwrap_err().to_string(),
        "instance id: the prefix \"@\" is reserved"
    );
}

#[tokio::test]
async fn a_list_of_entities_is_read_page_by_page_also_when_some_of_them_are_gone() {
    let hub = Hub::new().await;
    let client = hub.engine.client();
    let keys: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
    for key in &keys {
        hub.engine.signal::<Counter>(key).add(1).await.unwrap();
    }
    let (mut listed, mut page, mut pages) = (Vec::new(), None, 0);
    loop {
        let found = client.entities(Default::default(), 4, page.as_deref()).await.unwrap();
        assert!(found.entities.len() <= 4);
        // Those of the page that was read are gone before the next one is asked for.
        for entity in &found.entities {
            assert!(entity.created_at <= entity.updated_at);
            while client.entity::<Counter>(entity.id.key()).delete().await.is_err() {
                tokio::task::yield_now().await;
            }
        }
        listed.extend(found.entities.into_iter().map(|entity| entity.id.key().to_owned()));
        pages += 1;
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    assert_eq!((listed, pages), (keys, 7));
    let refused = client.entities(Default::default(), 4, Some("nonsense")).await.unwrap_err();
    assert!(refused.to_string().contains("nonsense"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_entity_limits_the_time_of_its_operations() {
    #[derive(Default, Serialize, Deserialize)]
    struct Hasty {}
    #[entity(time_max = "300ms")]
    impl Hasty {
        pub async fn dawdle(&mut self) -> Result<()> {
            std::future::pending().await
        }
    }
    #[orchestration]
    async fn ask(ctx: Orchestration) -> Result<String> {
        Ok(ctx.entity::<Hasty>("a").dawdle().await.unwrap_err().to_string())
    }
    let end = TestRun::new(ask, ()).entity::<Hasty>().run().await;
    assert!(end.output().unwrap().contains("took longer than 300 ms"));
}

#[tokio::test]
async fn an_operation_that_the_entity_does_not_have_is_a_typed_error() {
    #[derive(Default, Serialize, Deserialize)]
    struct Newer {}
    #[entity(name = "Counter")]
    impl Newer {
        pub fn later(&mut self) -> Result<()> {
            Ok(())
        }
    }
    #[orchestration]
    async fn ask(ctx: Orchestration) -> Result<String> {
        let error = ctx.entity::<Newer>("a").later().await.unwrap_err();
        assert_eq!(error.kind(), kind::NOT_REGISTERED);
        Ok(error.to_string())
    }
    let end = TestRun::new(ask, ()).entity::<Counter>().run().await;
    assert_eq!(end.output().unwrap(), "entity @Counter@a has no operation \"later\"");
}

#[tokio::test]
async fn an_entity_whose_state_cannot_be_read_goes_on_when_it_is_deleted() {
    #[derive(Default, Serialize, Deserialize)]
    struct Other {
        text: String,
    }
    #[entity(name = "Counter")]
    impl Other {
        pub fn note(&mut self, text: String) -> Result<()> {
            self.text = text;
            Ok(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hub.db");
    let engine = Engine::sqlite(&file).entity::<Other>().start().await.unwrap();
    engine.signal::<Other>("a").note("text".into()).await.unwrap();
    let other = engine.entity::<Other>("a");
    while other.read().await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    engine.shutdown().await;
    let engine = Hub::open(&directory).await;
    engine.signal::<Counter>("a").add(3).await.unwrap();
    let counter = engine.entity::<Counter>("a");
    let blocked = loop {
        match counter.get().await.unwrap().unwrap().blocked {
            Some(reason) => break reason,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(blocked.contains("the state of @Counter@a cannot be read as"), "{blocked}");
    counter.delete().await.unwrap();
    let hub = Hub { engine, directory };
    assert_eq!(hub.catch_up("a").await, 3);
}

#[derive(Default, Serialize, Deserialize)]
struct Stuck {}

#[entity]
impl Stuck {
    pub fn hold(&mut self) -> Result<()> {
        loop {
            std::thread::park();
        }
    }
}

#[orchestration]
async fn hold_up(ctx: Orchestration) -> Result<String> {
    Ok(ctx.entity::<Stuck>("a").hold().await.unwrap_err().kind().to_owned())
}

#[test]
fn an_operation_that_never_ends_fails_and_its_entity_can_be_managed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::sqlite(directory.path().join("hub.db"))
            .operation_time_max(Some(Duration::from_millis(20)))
            .entity::<Stuck>()
            .register(hold_up)
            .start()
            .await
            .unwrap();
        assert_eq!(engine.run(hold_up, ()).await.unwrap(), kind::TIMEOUT);
        engine.entity::<Stuck>("a").delete().await.unwrap();
        engine.shutdown().await;
    });
    // A thread is held for ever: nobody waits for it.
    runtime.shutdown_background();
}
