//! Where media packets come in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// `[webrtc]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// UDP address of media packets of all sessions; open only while there are sessions. With port 0 the system chooses
    /// one. Default: `0.0.0.0:8189`.
    pub listen: SocketAddr,
    /// Further addresses by which phones and players reach the box, such as that of a router which forwards the port.
    /// Default: none, those of the box.
    pub addresses: Vec<IpAddr>,
    /// Sessions at once, of publishers and players together; 1 to 64. Default: 16.
    pub max_sessions: u16,
}

impl Default for Config {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8189);
        Self { listen, addresses: Vec::new(), max_sessions: 16 }
    }
}

impl Config {
    /// Checks each key.
    ///
    /// # Errors
    /// One sentence for the person who wrote the file.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=64).contains(&self.max_sessions) {
            return Err(format!("max_sessions = {} must be 1 to 64", self.max_sessions));
        }
        if let Some(address) = self.addresses.iter().find(|address| address.is_unspecified() || address.is_multicast())
        {
            return Err(format!("addresses: {address} is not an address that packets can be sent to"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_are_refused() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert!(Config { max_sessions: 0, ..Config::default() }.validate().is_err());
        let addresses = vec!["0.0.0.0".parse().expect("address")];
        assert!(Config { addresses, ..Config::default() }.validate().is_err());
    }
}
