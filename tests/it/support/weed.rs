//! A real S3 server for the tests: SeaweedFS, one for the whole test process, over HTTP and HTTPS at once.
//!
//! It ends with the test process, because a supervisor reads a pipe that only this process holds open.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::OnceCell;

use super::eventually::eventually;

/// Kills the server and removes its files once this process has ended.
const SUPERVISOR: &str = r#"dir=$1; shift
"$@" >"$dir/log" 2>&1 </dev/null & pid=$!
cat >/dev/null
kill -9 $pid; wait $pid 2>/dev/null
rm -rf "$dir""#;

/// A running server.
pub struct Weed {
    /// `http://127.0.0.1:…`
    pub http: String,
    /// `https://localhost:…`, of a certificate by [`Weed::ca_file`].
    pub https: String,
    /// The private CA's certificate.
    pub ca_file: PathBuf,
    pub access_key: String,
    pub secret_key: String,
    /// `None` if the server was started by somebody else.
    _alive: Option<ChildStdin>,
}

/// Names another S3 server to run the tests of S3 against: `http://127.0.0.1:9000 <access key> <secret key>`.
const OTHER: &str = "TELELAKE_TEST_S3";

static WEED: OnceCell<Weed> = OnceCell::const_new();

/// The test process's server, started by the first test that asks for it.
pub async fn weed() -> &'static Weed {
    WEED.get_or_init(async || match std::env::var(OTHER) {
        Ok(other) => Weed::other(&other),
        Err(_) => Weed::start().await,
    })
    .await
}

/// The server, which a test must have started before.
pub fn started() -> &'static Weed {
    WEED.get().expect("started")
}

impl Weed {
    /// A server that is there already, and speaks HTTP alone.
    fn other(description: &str) -> Self {
        let mut words = description.split_whitespace().map(ToOwned::to_owned);
        let mut next = || words.next().expect("an endpoint and two keys");
        Self {
            http: next(),
            https: String::new(),
            ca_file: PathBuf::new(),
            access_key: next(),
            secret_key: next(),
            _alive: None,
        }
    }

    // The supervisor outlives this process by design, so that nobody can wait for it.
    #[allow(clippy::zombie_processes)]
    async fn start() -> Self {
        let program = program();
        // The supervisor removes it, because statics are not dropped.
        let dir = tempfile::Builder::new()
            .prefix("telelake-weed-")
            .tempdir()
            .unwrap()
            .keep();
        let (http, https) = free_ports();
        let data = dir.join("data");
        std::fs::create_dir(&data).unwrap();
        certificates(&dir);
        // Keys of this process alone, so that a server that accepts them is ours even if ports were swapped.
        let access_key = format!("AKIA{:016X}", fastrand::u64(..));
        let secret_key = format!("{:032x}", fastrand::u128(..));
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&dir)
            .arg(&program)
            .arg("mini")
            .arg(format!("-dir={}", data.display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-webdav=false",
                "-admin.ui=false",
            ])
            .args([
                "-s3.autoCreateBucket=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                // Each bucket takes a volume at least; by itself it would have one for each free GiB of the disk.
                "-volume.max=1000",
            ])
            // Each bucket has volumes of its own, and there are as many as the free disk could hold when they are full.
            .arg("-master.volumeSizeLimitMB=32")
            .arg(format!("-s3.port={http}"))
            .arg(format!("-s3.port.https={https}"))
            .arg(format!("-s3.cert.file={}", dir.join("server.pem").display()))
            .arg(format!("-s3.key.file={}", dir.join("server.key").display()))
            .env("AWS_ACCESS_KEY_ID", &access_key)
            .env("AWS_SECRET_ACCESS_KEY", &secret_key)
            .env("GOMEMLIMIT", "400MiB")
            .current_dir(&dir)
            .stdin(Stdio::piped())
            // Ctrl-C at a terminal goes to the whole group: the supervisor must outlive the tests.
            .process_group(0)
            .spawn()
            .unwrap();
        let weed = Self {
            http: format!("http://127.0.0.1:{http}"),
            https: format!("https://localhost:{https}"),
            ca_file: dir.join("ca.pem"),
            access_key,
            secret_key,
            _alive: Some(supervisor.stdin.take().unwrap()),
        };
        weed.wait(&dir.join("log")).await;
        weed
    }

    async fn wait(&self, log: &Path) {
        let client = self.client();
        let what = format!("SeaweedFS answers at {}; its log is {}", self.http, log.display());
        let mut shown = String::new();
        eventually(&what, async || match client.list_buckets().send().await {
            Ok(_) => true,
            Err(error) => {
                // The captured output shows why the server does not answer, each reason once.
                let error = format!("{error:?}");
                if error != shown {
                    eprintln!("{error}");
                    shown = error;
                }
                false
            }
        })
        .await;
    }

    /// The AWS configuration of a client with all rights, over HTTP.
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(&self.http, &self.access_key, &self.secret_key)
    }

    /// The environment in which the AWS chain finds the server at `endpoint`.
    pub fn environment(&self, endpoint: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_ENDPOINT_URL_S3", endpoint.to_owned()),
        ]
    }

    /// A client for looking at what a store wrote.
    pub fn client(&self) -> Client {
        client(&self.sdk_config())
    }

    /// A new bucket.
    pub async fn bucket(&self) -> String {
        let name = format!("test-{:016x}", fastrand::u64(..));
        self.client().create_bucket().bucket(&name).send().await.unwrap();
        name
    }
}

/// A client for looking at what a store wrote.
pub fn client(sdk: &SdkConfig) -> Client {
    Client::from_conf(
        aws_sdk_s3::config::Builder::from(sdk)
            .force_path_style(true)
            .build(),
    )
}

/// An AWS configuration without a chain.
pub fn sdk_config(endpoint: &str, access_key: &str, secret_key: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, secret_key, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(credentials))
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

fn program() -> PathBuf {
    let program = std::env::var_os("TELELAKE_TEST_WEED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/weed"),
        PathBuf::from,
    );
    assert!(
        program.is_file(),
        "{} is missing: run `make tools`, or name the program in TELELAKE_TEST_WEED",
        program.display()
    );
    program
}

/// Two free ports, both held until both are known, because the server would silently take others.
fn free_ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [http, https] = listeners.map(|listener| listener.local_addr().unwrap().port());
    (http, https)
}

/// A private CA, and the server's certificate by it.
fn certificates(dir: &Path) {
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("server.pem"), server.pem()).unwrap();
    std::fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}
