//! The command and a server with a certificate and tokens.

use super::bed::*;
use crate::perdura::{Said, perdura, run};
use perdura_server::{Credentials, Server, ServerOptions, Tls};

const TOKEN: &str = "a-token-for-the-tests";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_and_tokens_is_reached_by_who_has_both() {
    let bed = Bed::failed_orders(&["o1"]).await;
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = bed.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, other_ca) = (file("ca.pem", key.cert.pem()), file("other.pem", other.cert.pem()));
    let (token, other_token) =
        (file("token", TOKEN.into()), file("other-token", "another-token-here".into()));
    let nonsense = file("nonsense.pem", "nonsense".into());
    let mut options = ServerOptions::new(bed.dir.path());
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let secret = key.signing_key.serialize_pem();
    options.tls = Some(Tls { certificate: key.cert.pem().into(), key: secret.into() });
    options.credentials = Credentials::tokens([TOKEN]).unwrap();
    let server = Server::start(options).await.unwrap();
    let port = server.addresses()[0].port();
    let (secure, plain) = (format!("https://localhost:{port}"), format!("http://localhost:{port}"));
    let said = |verb: &str, url: &str, args: &[&str]| -> Said {
        let mut command = perdura();
        command.args([verb, "--server", url, "o1"]).args(args).env_remove("PERDURA_TOKEN").env("USER", "ada");
        tokio::task::block_in_place(|| run(&mut command))
    };
    let with_both = ["--tls-ca", &ca, "--token-file", &token];
    for (url, args, expected) in [
        (&secure, &["--tls-ca", &ca][..], "needs a valid token"),
        (&secure, &["--tls-ca", &ca, "--token-file", &other_token], "needs a valid token"),
        (
            &secure,
            &["--tls-ca", &other_ca, "--token-file", &token],
            "that the certificate of --tls-ca vouches for",
        ),
        (&secure, &["--tls-ca", &nonsense, "--token-file", &token], "nonsense.pem"),
        (&secure, &["--tls-ca", "nowhere.pem", "--token-file", &token], "nowhere.pem"),
        (&secure, &["--token-file", &token], "--tls-ca"),
        (&plain, &["--tls-ca", &ca, "--token-file", &token], "is at https://"),
        (&plain, &["--token-file", &token], ""),
    ] {
        let refused = said("why", url, args);
        assert!(refused.code != 0 && refused.err.contains(expected), "{args:?}: {}", refused.err);
        assert!(!refused.err.contains(TOKEN), "{}", refused.err);
    }
    let rewound = said("rewind", &secure, &[&with_both[..], &["--reason", "the bank is up"]].concat());
    assert_eq!((rewound.code, &rewound.err[..]), (0, ""));
    assert!(rewound.out.ends_with("done; it goes on\n"), "{}", rewound.out);
    let branches = said("branches", &secure, &with_both);
    assert!(branches.out.contains("by ada, the bank is up"), "{} {}", branches.out, branches.err);
    server.shutdown().await;
}
