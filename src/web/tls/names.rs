//! What the box is called on its network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The names of the box: `localhost`, its host name, and that in the local network without a name server.
pub(in crate::web) fn host_names() -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    let is_name = |name: &str| {
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
    };
    let mut names = vec!["localhost".to_owned()];
    if is_name(&host) && host != "localhost" {
        let short = host.split('.').next().unwrap_or_default();
        names.extend([host.clone(), format!("{short}.local")]);
        names.dedup();
    }
    names
}

/// The addresses of the box at this moment, loopback first.
pub(in crate::web) fn addresses() -> Vec<IpAddr> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    addresses.extend(ipv4(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4));
    addresses.extend(ipv6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    let mut known = std::collections::HashSet::new();
    addresses.retain(|address| known.insert(*address));
    addresses
}

/// An address by which others reach the box; loopback where it has no network.
pub(in crate::web) fn outward_address() -> IpAddr {
    let addresses = addresses();
    let outward = || addresses.iter().filter(|address| !address.is_loopback());
    let found = outward().find(|address| address.is_ipv4()).or_else(|| outward().next());
    found.copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// An address stands in a line of its own; the line below says whether it is one of the box.
fn ipv4(trie: &str) -> Vec<Ipv4Addr> {
    let mut last: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last.take());
        }
    }
    found
}

/// 32 hexadecimal digits begin a line.
fn ipv6(list: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| Some(Ipv6Addr::from_bits(u128::from_str_radix(line.get(..32)?, 16).ok()?));
    let is_reachable = |address: &Ipv6Addr| !address.is_unicast_link_local();
    list.lines().filter_map(address).filter(is_reachable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.255\n        /32 link BROADCAST\n     \
                    |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(ipv4(trie), ["10.1.2.3", "127.0.0.1"].map(|ip| ip.parse::<Ipv4Addr>().expect("an address")));
        let list = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    fe800000000000000000000000000001 02 40 20 80     eth0\n\
                    20010db8000000000000000000000007 02 40 00 80     eth0\nodd\n";
        assert_eq!(ipv6(list), ["::1", "2001:db8::7"].map(|ip| ip.parse::<Ipv6Addr>().expect("an address")));
        let own = addresses();
        assert!(own.contains(&"127.0.0.1".parse().expect("an address")), "{own:?}");
        assert!(own.contains(&outward_address()) && !outward_address().is_unspecified());
        assert!(host_names().contains(&"localhost".to_owned()));
    }
}
