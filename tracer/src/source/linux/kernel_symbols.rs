//! The kernel's functions by address, and the module that a kernel stack is of.

use crate::event::Frame;
use std::fs;
use std::sync::Arc;

/// Modules that others go through.
const PLUMBING: [&str; 4] = ["bpf", "udp_tunnel", "ip6_udp_tunnel", "ipv6"];

/// What is part of this kernel instead of a module, by how its functions are called.
const BUILT_IN: [(&str, &str); 24] = [
    ("vxlan_", "vxlan"),
    ("geneve_", "geneve"),
    ("wg_", "wireguard"),
    ("bareudp_", "bareudp"),
    ("fou_", "fou"),
    ("gtp_", "gtp"),
    ("l2tp_", "l2tp_core"),
    ("pfcp_", "pfcp"),
    ("rxe_", "rdma_rxe"),
    ("siw_", "siw"),
    ("rds_tcp_", "rds_tcp"),
    ("tipc_", "tipc"),
    ("rxrpc_", "rxrpc"),
    ("smc_", "smc"),
    ("mptcp_", "mptcp"),
    ("xs_", "sunrpc"),
    ("svc_", "sunrpc"),
    ("cifs_", "cifs"),
    ("generic_ip_connect", "cifs"),
    ("nvme_tcp_", "nvme_tcp"),
    ("p9_fd_", "9pnet_fd"),
    ("ceph_", "libceph"),
    ("dlm_", "dlm"),
    ("o2net_", "ocfs2_nodemanager"),
];

/// `/proc/kallsyms`, by ascending address, without what is no code.
#[derive(Clone, Debug, Default)]
pub struct KernelSymbols {
    /// `/proc/modules` at that time: others come and go.
    modules: String,
    text: String,
    /// Address, and where in the text its name begins.
    symbols: Vec<(u64, u32)>,
}

impl KernelSymbols {
    /// Reads them anew if there are other modules than before.
    pub fn refresh(&mut self) {
        let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
        if self.symbols.is_empty() || modules != self.modules {
            let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
            *self = Self { modules, ..Self::parse(text) };
        }
    }

    /// Parses `address type name [module]`. Where addresses are hidden, all are 0, and none counts.
    fn parse(text: String) -> Self {
        let mut symbols = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            symbols.extend(symbol(line, start));
            start += line.len();
        }
        symbols.sort_unstable();
        Self { modules: String::new(), text, symbols }
    }

    /// What lies at a return address.
    #[must_use]
    pub fn frame(&self, return_address: u64) -> Frame {
        let address = return_address.saturating_sub(1);
        let after = self.symbols.partition_point(|&(start, _)| start <= address);
        let found = after.checked_sub(1).and_then(|at| self.symbols.get(at));
        let Some(line) = found.and_then(|&(_, name)| self.text.get(name as usize..)?.lines().next()) else {
            return Frame::Address(address);
        };
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default().into();
        let module = words.next().map(|module| module.trim_matches(['[', ']']).into());
        Frame::Named { name, module }
    }
}

/// A line of code: its address and where its name begins.
fn symbol(line: &str, start: usize) -> Option<(u64, u32)> {
    let (address, rest) = line.split_once(' ')?;
    let (kind, _) = rest.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0)?;
    let name = u32::try_from(start + line.len() - rest.len() + kind.len() + 1).ok()?;
    matches!(kind, "t" | "T" | "w" | "W").then_some((address, name))
}

/// The module (or the part of the kernel that would be one) that a kernel stack is of.
#[must_use]
pub fn module(frames: &[Frame]) -> Option<Arc<str>> {
    frames.iter().find_map(|frame| match frame {
        Frame::Named { module: Some(module), .. } => {
            (!PLUMBING.contains(&&**module)).then(|| Arc::clone(module))
        }
        Frame::Named { name, module: None } => built_in(name).map(Arc::from),
        _ => None,
    })
}

fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, module)| *module)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000100 T kernel_bind
ffffffff81000000 t inet_bind_sk
ffffffff81000200 d some_data
ffffffff81000300 t vxlan_sock_add
ffffffffc0000000 t udp_sock_create4\t[udp_tunnel]
ffffffffc0001000 t wg_socket_init\t[wireguard]
ffffffffc0002000 t bpf_prog_1234_post_bind4\t[bpf]
";

    fn module_of(addresses: &[u64]) -> Option<Arc<str>> {
        let symbols = KernelSymbols::parse(KALLSYMS.to_owned());
        module(&addresses.iter().map(|address| symbols.frame(*address)).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_are_functions_with_their_module() {
        let symbols = KernelSymbols::parse(KALLSYMS.to_owned());
        let named = |name: &str, module: Option<&str>| Frame::Named {
            name: name.into(),
            module: module.map(Arc::from),
        };
        assert_eq!(symbols.frame(0xffff_ffff_8100_0010), named("inet_bind_sk", None));
        assert_eq!(symbols.frame(0xffff_ffff_8100_0250), named("kernel_bind", None));
        assert_eq!(symbols.frame(0xffff_ffff_c000_1010), named("wg_socket_init", Some("wireguard")));
        assert_eq!(symbols.frame(0x10), Frame::Address(0xf));
    }

    #[test]
    fn the_module_is_the_innermost_that_is_no_plumbing() {
        let (prog, bind, tunnel) = (0xffff_ffff_c000_2001, 0xffff_ffff_8100_0101, 0xffff_ffff_c000_0001);
        let (vxlan, wireguard) = (0xffff_ffff_8100_0301, 0xffff_ffff_c000_1001);
        assert_eq!(module_of(&[prog, bind, tunnel, wireguard]).as_deref(), Some("wireguard"));
        assert_eq!(module_of(&[prog, bind, vxlan, wireguard]).as_deref(), Some("vxlan"));
        assert_eq!(module_of(&[prog, bind, tunnel]), None);
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let hidden = KernelSymbols::parse("0000000000000000 T kernel_bind\n".to_owned());
        assert_eq!(hidden.frame(0xffff_ffff_8100_0001), Frame::Address(0xffff_ffff_8100_0000));
    }
}
