//! Dikastes' way to be ended over HTTP: any request for `/terminate`, set up by the environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::sync::mpsc;
use tortie_daemon::http::{self, Listener, Place, StatusCode};
use tortie_daemon::shutdown::Watch;

/// The variable with the port; without it there is no such server.
pub const PORT: &str = "DIKASTES_HTTP_BIND_PORT";
/// The variable with the address. Nobody has to prove anything to end the program, so without an
/// address it is that of this machine alone.
pub const ADDRESS: &str = "DIKASTES_HTTP_BIND_ADDR";

/// Where to listen, from the two variables; nowhere without a port. `everywhere` is what Calico does
/// without an address: the compatibility switch `unauthenticated-control`.
///
/// # Errors
/// Says which variable is wrong.
pub fn place(
    port: Option<&str>,
    address: Option<&str>,
    everywhere: bool,
) -> Result<Option<Place>, String> {
    let Some(port) = port.filter(|port| !port.is_empty()) else { return Ok(None) };
    let number = port.parse::<u16>().ok().filter(|port| *port > 0);
    let number = number.ok_or_else(|| format!("{PORT}: `{port}` is not a port"))?;
    let address = match address.filter(|address| !address.is_empty()) {
        Some(address) => {
            address.parse().map_err(|_| format!("{ADDRESS}: `{address}` is not an IP address"))?
        }
        None if everywhere => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Ok(Some(Place::Tcp(SocketAddr::new(address, number))))
}

/// Tells `end` of every request for `/terminate`, until the drain begins.
pub async fn serve(listener: Listener, end: mpsc::Sender<()>, drain: Watch) {
    let handler = move |call: http::Call| {
        let end = end.clone();
        async move {
            if call.path != "/terminate" {
                return http::answer(StatusCode::NOT_FOUND, "404 page not found");
            }
            // Full means that somebody asked before.
            let _ = end.try_send(());
            http::answer(StatusCode::OK, "terminating Dikastes")
        }
    };
    http::serve(listener, handler, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let at = |port, address, everywhere| match place(port, address, everywhere) {
            Ok(Some(Place::Tcp(address))) => address.to_string(),
            Ok(Some(Place::Unix(path))) => path.display().to_string(),
            Ok(None) => "nowhere".to_owned(),
            Err(error) => error,
        };
        for (port, address, everywhere, expected) in [
            (None, None, false, "nowhere"),
            (None, Some("0.0.0.0"), true, "nowhere"),
            (Some(""), None, false, "nowhere"),
            (Some("7777"), None, false, "127.0.0.1:7777"),
            (Some("7777"), Some(""), false, "127.0.0.1:7777"),
            (Some("7777"), None, true, "[::]:7777"),
            (Some("7777"), Some("10.0.0.1"), false, "10.0.0.1:7777"),
            (Some("7777"), Some("::1"), true, "[::1]:7777"),
            (Some("0"), None, false, "DIKASTES_HTTP_BIND_PORT: `0` is not a port"),
            (Some("x"), None, false, "DIKASTES_HTTP_BIND_PORT: `x` is not a port"),
            (Some("1"), Some("x"), false, "DIKASTES_HTTP_BIND_ADDR: `x` is not an IP address"),
        ] {
            assert_eq!(at(port, address, everywhere), expected);
        }
    }
}
