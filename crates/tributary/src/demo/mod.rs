//! `tributary demo`: a server with an example organization, devices that publish, and a receiver to watch.
//!
//! Everything goes through the public API, as a user's own program would.

mod api;
mod receiver;
mod scene;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    Result,
    cli::DemoArgs,
    config::{Config, List},
    serve::{Server, StartError, stop_signal},
    start_logging,
};
use api::Api;
use receiver::Receiver;
use scene::Scene;

/// Time between two events of the demo's devices.
const EVERY: Duration = Duration::from_millis(1_500);

/// Runs the demo until Ctrl-C.
pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("tributary-demo-").tempdir()?),
    };
    let data_dir: PathBuf =
        temporary.as_ref().map(|dir| dir.path().to_owned()).or(args.data_dir).unwrap_or_default();
    let mut config = Config::default();
    config.store.data_dir = data_dir;
    config.server.listen = args.listen;
    // The receiver is on this machine; everything else private stays closed.
    config.delivery.allowed_targets = List(vec!["127.0.0.1/32".to_owned()]);
    config.log.level = "warn".to_owned();
    start_logging(&config.log)?;

    let server = start(&mut config).await?;
    let receiver = Receiver::start().await?;
    let api = Api::new(server.address);
    let scene = Scene::build(&api, receiver.address).await?;
    introduce(&server, &receiver, &scene);
    let publishing = tokio::spawn(async move {
        let mut turn = 0;
        loop {
            if let Err(error) = scene.publish(&api, turn).await {
                eprintln!("an event was not accepted: {error}");
            }
            turn += 1;
            tokio::time::sleep(EVERY).await;
        }
    });
    stop_signal().await?;
    publishing.abort();
    println!("\nstopping");
    server.stop().await;
    Ok(())
}

/// Starts the server, on another port when the wanted one is taken.
async fn start(config: &mut Config) -> Result<Server> {
    match Server::start(config).await {
        Err(StartError::Listen(address, error)) if error.kind() == std::io::ErrorKind::AddrInUse => {
            println!("{address} is in use, taking another port");
            config.server.listen = SocketAddr::new(address.ip(), 0);
            Ok(Server::start(config).await?)
        }
        other => Ok(other?),
    }
}

fn introduce(server: &Server, receiver: &Receiver, scene: &Scene) {
    let (base, sink) = (format!("http://{}", server.address), format!("http://{}", receiver.address));
    let (token, org, shared) = (&scene.token, &scene.org, &scene.shared);
    let (name, password) = (scene::USERNAME, scene::PASSWORD);
    let product = &scene.pumps[0].slug;
    println!(
        "
Acme Sensors is running.

  console    {base}/
  sign in    {name}  password {password}
  API        {base}/v1
  receiver   {sink}/   (its last requests)

  \"Telemetry to lake\" is one integration, shared by Pump mk1 and Pump mk2. Gateway has one of its own.

Try, in another terminal:

  TOKEN={token}

  # the organization's integrations, with today's traffic summed over their products
  curl -s {base}/v1/orgs/{org}/integrations -H \"Authorization: Bearer $TOKEN\"

  # the shared one: history in total and for each product
  curl -s \"{base}/v1/orgs/{org}/integrations/{shared}/history?days=1\" -H \"Authorization: Bearer $TOKEN\"

  # an event of your own
  curl -s {base}/v1/products/{product}/events -H \"Authorization: Bearer $TOKEN\" -d name=temp/mine -d 'data={{\"celsius\":21.5}}'

One line per delivery that arrives (Ctrl-C ends the demo):
"
    );
}
