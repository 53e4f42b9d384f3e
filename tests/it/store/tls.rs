//! Certificates of the API and of the store that must not be trusted: `check` names the fault and the way out.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::support::program::Telelake;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap()
}

fn names(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// Starts a server that only shakes hands with a certificate, and returns its port.
fn server(certificate: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let certificate = certificate.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = connection.complete_io(&mut stream.unwrap());
        }
    });
    port
}

/// The lines of `check` about an API and a store on this port.
async fn check(port: u16, trusted: &Path) -> [String; 2] {
    let trusted = trusted.display().to_string();
    let checked = Telelake::new(&["check"])
        .env("TELELAKE_API__BASE_URL", &format!("https://localhost:{port}/v1"))
        .env("TELELAKE_API__TOKEN", "a-t0ken-of-tests")
        .env("SSL_CERT_FILE", &trusted)
        .env("AWS_CA_BUNDLE", &trusted)
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b")
        .env("TELELAKE_STORE__URL", "s3://lake")
        .env("TELELAKE_STORE__S3__PATH_STYLE", "true")
        .env(
            "TELELAKE_STORE__S3__ENDPOINT_URL",
            &format!("https://localhost:{port}"),
        )
        .run()
        .await
        .expect(2);
    ["FAIL  API: ", "FAIL  store: "].map(|start| {
        let line = checked.stdout.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {checked:?}")).to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_misnamed_and_unknown_certificates_have_different_errors() {
    let (known, unknown) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, known.pem()).unwrap();
    let mut expired = names("localhost");
    expired.not_before = date_time_ymd(2024, 1, 1);
    expired.not_after = date_time_ymd(2025, 1, 2);
    let mut early = names("localhost");
    early.not_before = date_time_ymd(2190, 1, 2);
    early.not_after = date_time_ymd(2191, 1, 2);
    let cases = [
        (
            server(expired, &known),
            "has expired on 2025-01-02",
            ["have it renewed"; 2],
        ),
        (
            server(early, &known),
            "is not valid before 2190-01-02",
            ["set this machine's clock"; 2],
        ),
        (
            server(names("other.example"), &known),
            "is not for localhost but for other.example",
            ["use a host name that the certificate has"; 2],
        ),
        (
            server(names("localhost"), &unknown),
            "is signed by an authority that this machine does not know",
            ["in SSL_CERT_FILE", "in AWS_CA_BUNDLE"],
        ),
    ];
    for (port, message, hints) in cases {
        for (line, hint) in check(port, &trusted).await.iter().zip(hints) {
            assert!(line.contains(message) && line.contains(hint), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unresolved_bucket_host_hints_at_the_path_style() {
    let checked = Telelake::new(&["check"])
        .env("TELELAKE_API__BASE_URL", "http://127.0.0.1:9/v1")
        .env("TELELAKE_API__RETRIES", "0")
        .env("TELELAKE_API__TOKEN", "a-t0ken-of-tests")
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b")
        .env("TELELAKE_STORE__URL", "s3://lake")
        .env("TELELAKE_STORE__S3__ENDPOINT_URL", "http://s3.invalid:9000")
        .run()
        .await
        .expect(2);
    let line = checked
        .stdout
        .lines()
        .find(|line| line.starts_with("FAIL  store: "))
        .unwrap();
    assert!(
        line.contains("the name lake.s3.invalid can't be resolved"),
        "{line}"
    );
    assert!(line.contains("set store.s3.path_style = true"), "{line}");
}
