use super::wire_bytes::{call, methods};
use super::world::*;
use perdura_proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use perdura_server::{Credentials, Server, ServerError, ServerOptions, Tls};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

const TOKEN: &str = "a-token-for-the-tests";

#[tokio::test]
async fn no_method_of_any_service_answers_without_the_right_token() {
    let world = World::with(|options| options.credentials = Credentials::tokens([TOKEN]).unwrap()).await;
    let channel = world.channel().await;
    let methods = methods();
    assert!(methods.len() >= 29 + 2 + 2, "{methods:?}");
    for method in methods {
        for token in [None, Some("Bearer another-token-entirely"), Some(TOKEN), Some("Basic YTpi")] {
            let status = call(&channel, &method, b"".to_vec(), token).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{method} with {token:?}");
        }
        let right = format!("Bearer {TOKEN}");
        let answer = call(&channel, &method, b"".to_vec(), Some(&right)).await;
        assert!(
            answer.as_ref().err().is_none_or(|e| e.code() != Code::Unauthenticated),
            "{method}: {answer:?}"
        );
    }
    let unknown = call(&channel, "/TaskHubSidecarService/NoSuchMethod", vec![], None).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_encryption_and_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let exposed = |change: &dyn Fn(&mut ServerOptions)| {
        let mut options = ServerOptions::new(directory.path());
        options.listen = vec!["0.0.0.0:0".parse().unwrap()];
        change(&mut options);
        Server::start(options)
    };
    let refused = exposed(&|_| {}).await.err().unwrap();
    assert!(matches!(refused, ServerError::Exposed { .. }), "{refused}");
    let tokens_only = exposed(&|options| options.credentials = Credentials::tokens([TOKEN]).unwrap()).await;
    assert!(matches!(tokens_only, Err(ServerError::Exposed { .. })), "tokens in clear text");
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing was made");
    exposed(&|options| options.insecure = true).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn connections_are_encrypted_with_the_certificate() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let world = World::with(|options| {
        options.tls = Some(Tls { certificate: certificate.clone().into(), key: secret.into() });
        options.credentials = Credentials::tokens([TOKEN]).unwrap();
    })
    .await;
    let port = world.server.addresses()[0].port();
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&certificate)).domain_name("localhost");
    let endpoint =
        Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tls_config(tls).unwrap();
    let mut client = TaskHubSidecarServiceClient::new(endpoint.connect().await.unwrap());
    assert_eq!(code(client.hello(()).await), Code::Unauthenticated);
    let mut request = Request::new(());
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    client.hello(request).await.unwrap();
    let plain = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await;
    let refused = match plain {
        Err(_) => true,
        Ok(channel) => TaskHubSidecarServiceClient::new(channel).hello(()).await.is_err(),
    };
    assert!(refused, "it answered in clear text");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_said_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = ServerOptions::new(directory.path());
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.tls = Some(Tls { certificate: b"nonsense".to_vec(), key: b"nonsense".to_vec() });
    assert!(matches!(Server::start(options).await, Err(ServerError::Tls(_))));
}
