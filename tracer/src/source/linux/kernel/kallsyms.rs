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
pub struct Kallsyms {
    /// `/proc/modules` at that time: others come and go.
    modules: String,
    text: String,
    /// Address, and where in the text its name begins.
    symbols: Vec<(u64, u32)>,
    places: Places,
}

impl Kallsyms {
    /// Reads them anew if there are other modules than before.
    pub fn refresh(&mut self) {
        let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
        if self.symbols.is_empty() || modules != self.modules {
            let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
            *self = Self::parse(modules, text);
        }
    }

    /// Parses `address type name [module]`. Where addresses are hidden, all are 0, and none counts.
    fn parse(modules: String, text: String) -> Self {
        let mut symbols = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            symbols.extend(symbol(line, start));
            start += line.len();
        }
        let mut places = Places::parse(&modules);
        symbols.iter().for_each(|&(address, name)| places.see(address, module_of(&text, name)));
        symbols.retain(|&(address, name)| !places.is_stale(address, module_of(&text, name)));
        symbols.sort_unstable();
        Self { modules, text, symbols, places }
    }

    /// What lies at a return address.
    #[must_use]
    pub fn frame(&self, return_address: u64) -> Frame {
        let address = return_address.saturating_sub(1);
        let after = self.symbols.partition_point(|&(start, _)| start <= address);
        let found = after.checked_sub(1).and_then(|at| self.symbols.get(at));
        let Some((start, (name, module))) =
            found.and_then(|&(start, at)| Some((start, words(&self.text, at)?)))
        else {
            return Frame::Address(address);
        };
        // kallsyms is read while modules come and go, and may have missed one's functions.
        match self.places.of(address).filter(|code| !code.may_hold(start, module)) {
            Some(code) => Frame::Named {
                name: format!("{}+{:#x}", code.module, address - code.begins).into(),
                module: Some(code.module.as_ref().into()),
            },
            None => Frame::Named { name: name.into(), module: module.map(Into::into) },
        }
    }
}

/// The name that begins at `at`, and the module behind it.
fn words(text: &str, at: u32) -> Option<(&str, Option<&str>)> {
    let mut words = text.get(at as usize..)?.lines().next()?.split_ascii_whitespace();
    let name = words.next()?;
    Some((name, words.next().map(|module| module.trim_matches(['[', ']']))))
}

fn module_of(text: &str, at: u32) -> Option<&str> {
    words(text, at)?.1
}

/// A line of code: its address and where its name begins.
fn symbol(line: &str, start: usize) -> Option<(u64, u32)> {
    let (address, rest) = line.split_once(' ')?;
    let (kind, _) = rest.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0)?;
    let name = u32::try_from(start + line.len() - rest.len() + kind.len() + 1).ok()?;
    matches!(kind, "t" | "T" | "w" | "W").then_some((address, name))
}

/// Where the code of each module lies.
///
/// The surprise: a module's initial code stays in kallsyms after it is gone, and another module's code
/// may lie there since (seen on Linux 7.2).
#[derive(Clone, Debug, Default)]
struct Places(Vec<Code>);

/// The code of a module.
#[derive(Clone, Debug)]
struct Code {
    begins: u64,
    /// Not beyond: its data is counted as well, wherever it lies.
    ends: u64,
    /// The end of the page up to which it has functions.
    known: u64,
    module: Box<str>,
}

impl Places {
    /// Parses `/proc/modules`: `name size uses users state address`.
    fn parse(modules: &str) -> Self {
        let mut places: Vec<_> = modules.lines().filter_map(code).collect();
        places.sort_unstable_by_key(|code| code.begins);
        Self(places)
    }

    /// The module with the last beginning at or below an address.
    fn index(&self, address: u64) -> Option<usize> {
        self.0.partition_point(|code| code.begins <= address).checked_sub(1)
    }

    /// The module whose code an address may be.
    fn of(&self, address: u64) -> Option<&Code> {
        self.0.get(self.index(address)?).filter(|code| address < code.ends)
    }

    /// There is a function of a module.
    fn see(&mut self, address: u64, module: Option<&str>) {
        let own = self.index(address).and_then(|at| self.0.get_mut(at));
        if let Some(code) = own.filter(|code| Some(&*code.module) == module) {
            code.known = code.known.max(address | PAGE);
        }
    }

    /// Whether a function of a module lies in another's code.
    fn is_stale(&self, address: u64, module: Option<&str>) -> bool {
        let code = self.index(address).and_then(|at| self.0.get(at));
        module.is_some() && code.is_some_and(|code| Some(&*code.module) != module && address <= code.known)
    }
}

impl Code {
    /// Whether a function that begins at `start` and is said to be of `module` can lie here: one of its
    /// own, or one that was made while running, which has a place between modules.
    fn may_hold(&self, start: u64, module: Option<&str>) -> bool {
        let made = |module: &str| module == "bpf" || module.starts_with("__builtin");
        module.is_some_and(|module| *self.module == *module || (start >= self.begins && made(module)))
    }
}

/// The lower bits of an address: its place in a page.
const PAGE: u64 = 0xfff;

fn code(line: &str) -> Option<Code> {
    let mut words = line.split_ascii_whitespace();
    let (module, size) = (words.next()?, words.next()?.parse::<u64>().ok()?);
    let address = words.find_map(|word| word.strip_prefix("0x"))?;
    let begins = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0)?;
    Some(Code { begins, ends: begins.saturating_add(size), known: 0, module: module.into() })
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

    fn module_at(addresses: &[u64]) -> Option<Arc<str>> {
        let symbols = Kallsyms::parse(String::new(), KALLSYMS.to_owned());
        module(&addresses.iter().map(|address| symbols.frame(*address)).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_are_functions_with_their_module() {
        let symbols = Kallsyms::parse(String::new(), KALLSYMS.to_owned());
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
        assert_eq!(module_at(&[prog, bind, tunnel, wireguard]).as_deref(), Some("wireguard"));
        assert_eq!(module_at(&[prog, bind, vxlan, wireguard]).as_deref(), Some("vxlan"));
        assert_eq!(module_at(&[prog, bind, tunnel]), None);
    }

    /// As seen on Linux 7.2.
    #[test]
    fn the_initial_code_of_a_module_may_be_anothers_code_by_now() {
        let modules = "\
ip6_udp_tunnel 16384 3 wireguard,geneve,vxlan, Live 0xffffffffc0402000
inet_diag 20480 2 udp_diag,tcp_diag, Live 0xffffffffc0400000
";
        let kallsyms = "\
ffffffffc0402010 t udp_sock_create6\t[ip6_udp_tunnel]
ffffffffc0400010 t inet_diag_dump\t[inet_diag]
ffffffffc0402010 t inet_diag_init\t[inet_diag]
ffffffffc0402300 t inet_diag_init_more\t[inet_diag]
ffffffffc0406010 t wg_mod_init\t[wireguard]
";
        let symbols = Kallsyms::parse(modules.to_owned(), kallsyms.to_owned());
        let module = |address| match symbols.frame(address) {
            Frame::Named { module, .. } => module,
            _ => None,
        };
        assert_eq!(module(0xffff_ffff_c040_20cc).as_deref(), Some("ip6_udp_tunnel"));
        assert_eq!(module(0xffff_ffff_c040_23cc).as_deref(), Some("ip6_udp_tunnel"));
        assert_eq!(module(0xffff_ffff_c040_0020).as_deref(), Some("inet_diag"));
        assert_eq!(module(0xffff_ffff_c040_6020).as_deref(), Some("wireguard"), "nobody else's");
    }

    #[test]
    fn a_module_whose_functions_were_missed_is_known_by_its_place() {
        let modules = "geneve 53248 0 - Live 0xffffffffc0437000\nvxlan 151552 0 - Live 0xffffffffc0422000\n";
        let kallsyms = "\
ffffffffc0422010 t vxlan_open\t[vxlan]
ffffffffc0438000 t bpf_prog_1234_x\t[bpf]
";
        let symbols = Kallsyms::parse(modules.to_owned(), kallsyms.to_owned());
        let named =
            |name: &str, module: &str| Frame::Named { name: name.into(), module: Some(module.into()) };
        assert_eq!(symbols.frame(0xffff_ffff_c042_2020), named("vxlan_open", "vxlan"));
        assert_eq!(symbols.frame(0xffff_ffff_c043_7101), named("geneve+0x100", "geneve"));
        assert_eq!(symbols.frame(0xffff_ffff_c043_8010), named("bpf_prog_1234_x", "bpf"));
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let hidden = Kallsyms::parse(String::new(), "0000000000000000 T kernel_bind\n".to_owned());
        assert_eq!(hidden.frame(0xffff_ffff_8100_0001), Frame::Address(0xffff_ffff_8100_0000));
    }
}
