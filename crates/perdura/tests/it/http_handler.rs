//! The ready-made handler that asks a service by HTTP.

use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use perdura::delivery::handlers::{Get, NotFound, http_get};
use perdura::delivery::{UnknownOutcome, Verdict};
use perdura::testing::activity_context;
use serde_json::{Value, json};

/// A service that knows one charge.
async fn service() -> String {
    let charges = get(|headers: HeaderMap| async move {
        match headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some("Bearer key") => (StatusCode::OK, r#"{"receipt": 42}"#),
            _ => (StatusCode::UNAUTHORIZED, "who are you?"),
        }
    });
    let app = axum::Router::new()
        .route("/charges/known", charges)
        .route("/charges/text", get(|| async { "shipped" }))
        .route("/charges/empty", get(|| async {}))
        .route("/charges/moved", get(|| async { (StatusCode::FOUND, [("location", "/charges/text")]) }))
        .route("/charges/large", get(|| async { "x".repeat(2 << 20) }))
        .route("/charges/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/charges/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn asked(key: &str) -> UnknownOutcome {
    serde_json::from_value(json!({
        "instance": "order-42", "execution": "1", "task": 0, "activity": "charge", "input": 7,
        "idempotencyKey": key, "attempt": 1, "attempts": [], "why": "gone", "since": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

async fn verdict(service: &str, key: &str, not_found: NotFound) -> perdura::Result<Verdict> {
    let service = service.to_owned();
    let get = move |asked: &UnknownOutcome| {
        Get::new(format!("{service}{}", asked.idempotency_key)).header("authorization", "Bearer key")
    };
    http_get(get, not_found)(activity_context("find"), asked(key)).await
}

#[tokio::test]
async fn what_the_service_has_is_the_result() {
    let service = service().await;
    for (key, result) in
        [("known", json!({ "receipt": 42 })), ("text", json!("shipped")), ("empty", Value::Null)]
    {
        let verdict = verdict(&service, key, NotFound::Suspend).await.unwrap();
        assert_eq!(verdict, Verdict::Complete(result), "{key}");
    }
}

#[tokio::test]
async fn what_the_service_does_not_have_may_run_once_more_or_is_looked_at() {
    let service = service().await;
    let again = verdict(&service, "unknown", NotFound::RunOnceMore).await.unwrap();
    assert_eq!(again, Verdict::RunOnceMore);
    let suspended = verdict(&service, "unknown", NotFound::Suspend).await.unwrap();
    assert!(matches!(&suspended, Verdict::Suspend(why) if why.contains("404")), "{suspended:?}");
}

#[tokio::test]
async fn any_other_answer_suspends() {
    let service = service().await;
    for (key, status) in [("broken", "500"), ("moved", "302")] {
        let suspended = verdict(&service, key, NotFound::RunOnceMore).await.unwrap();
        assert!(matches!(&suspended, Verdict::Suspend(why) if why.contains(status)), "{suspended:?}");
    }
    // An error of a handler suspends too.
    assert!(verdict(&service, "large", NotFound::RunOnceMore).await.is_err());
    assert!(verdict("http://127.0.0.1:1/", "known", NotFound::RunOnceMore).await.is_err());
}
