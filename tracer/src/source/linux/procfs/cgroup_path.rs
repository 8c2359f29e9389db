//! Where a process runs, as far as its cgroup's path shows it: its container, its systemd unit.
//!
//! Container engines and systemd name cgroups after what is inside; there is no other record of it
//! that all of them share.

use std::sync::Arc;

/// As many digits of a container's id as the engines themselves show.
const ID_SHOWN: usize = 12;
/// A container's id has so many digits.
const ID_DIGITS: usize = 64;
/// The scope that every systemd, also a user's, has for itself.
const INIT_SCOPE: &str = "init.scope";

/// A process's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupPath {
    /// The cgroup's path in its hierarchy, `/` at the top.
    pub cgroup: Option<Arc<str>>,
    /// The container: the first digits of its id, or its name.
    pub container: Option<Arc<str>>,
    /// The systemd unit, `nginx.service`.
    pub service: Option<Arc<str>>,
}

impl CgroupPath {
    /// What `/proc/PID/cgroup` shows.
    ///
    /// Where there are hierarchies of old beside cgroup2, it is the path that says most: engines
    /// that use the old ones leave their processes at the top of the other.
    #[must_use]
    pub fn parse(proc_cgroup: &str) -> Self {
        let places = ["", "name=systemd", "memory"].into_iter();
        let places = places.filter_map(|controller| path(proc_cgroup, controller)).map(Self::of_path);
        // Of equals the last is the greatest.
        places.rev().max_by_key(Self::telling).unwrap_or_default()
    }

    fn of_path(path: &str) -> Self {
        let components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let container = innermost_container(&components);
        // What is outside of a container runs the container, not the process.
        let inside = container.as_ref().map_or(0, |(at, _)| at + 1);
        Self {
            cgroup: Some(path.into()),
            service: components.get(inside..).and_then(unit).map(Into::into),
            container: container.map(|(_, name)| name.into()),
        }
    }

    fn telling(&self) -> (bool, bool, bool) {
        let below_the_top = self.cgroup.as_deref().is_some_and(|path| path != "/");
        (self.container.is_some(), self.service.is_some(), below_the_top)
    }
}

/// The path in the hierarchy of a controller; that of cgroup2 has none.
fn path<'a>(proc_cgroup: &'a str, controller: &str) -> Option<&'a str> {
    proc_cgroup.lines().find_map(|line| {
        let mut columns = line.splitn(3, ':').skip(1);
        let (controllers, path) = (columns.next()?, columns.next()?);
        controllers.split(',').any(|one| one == controller).then_some(path)
    })
}

/// The container deepest in a path, and which component names it.
fn innermost_container(components: &[&str]) -> Option<(usize, String)> {
    let named = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| components.get(before));
        container(components.get(at)?, before.copied()).map(|name| (at, name))
    };
    let pod = |at: usize| pod(components.get(at)?).map(|name| (at, name));
    let inwards = 0..components.len();
    inwards.clone().rev().find_map(named).or_else(|| inwards.rev().find_map(pod))
}

/// The container that a component names: `docker-ID.scope`, `cri-containerd-ID.scope`,
/// `crio-ID.scope`, `libpod-ID.scope`, `SLICE:cri-containerd:ID`, a plain `ID`;
/// `lxc.payload.NAME`, `lxc/NAME`.
fn container(component: &str, before: Option<&str>) -> Option<String> {
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return Some(name.to_owned());
    }
    if before == Some("lxc") {
        return Some(component.to_owned());
    }
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let (engine, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    // conmon watches over a container from outside.
    let is_container = is_id(id) && !engine.ends_with("conmon");
    is_container.then(|| id.chars().take(ID_SHOWN).collect())
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The pod of a Kubernetes cgroup whose container is not named: `kubepods-burstable-podUID.slice`,
/// `podUID`.
fn pod(component: &str) -> Option<String> {
    let name = component.strip_suffix(".slice").unwrap_or(component);
    let (_, uid) = name.rsplit_once("pod").filter(|(before, _)| {
        before.is_empty() || (before.starts_with("kubepods") && before.ends_with('-'))
    })?;
    // systemd has hyphens for levels, so that those of the uid are underscores.
    let uid = uid.replace('_', "-");
    let is_uid = uid.len() == 36 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then(|| format!("pod-{uid}"))
}

/// The innermost service or scope; a user's manager only if nothing is inside it.
fn unit<'a>(components: &[&'a str]) -> Option<&'a str> {
    let units = || {
        let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
        components.iter().rev().copied().filter(is_unit)
    };
    units().find(|unit| *unit != INIT_SCOPE).or_else(|| units().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d1a2b";
    const SHORT: &str = "1a2b3c4d5e6f";
    const UID: &str = "0f9d2c52-6b1e-4a7e-9d55-0f2c8d1f7b11";

    /// Container and service of a path in which `ID` and `UID` stand for one each.
    fn place(path: &str) -> (Option<String>, Option<String>) {
        let path = path.replace("UID_", &UID.replace('-', "_")).replace("UID", UID).replace("ID", ID);
        let place = CgroupPath::of_path(&path);
        let text = |part: Option<Arc<str>>| part.map(|part| part.to_string());
        (text(place.container), text(place.service))
    }

    #[test]
    fn containers_by_id() {
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/worker",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
            "/kubepods/burstable/podUID/ID",
            "/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-podUID_.slice:cri-containerd:ID",
            "/machine.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
            "/docker/0000000000000000000000000000000000000000000000000000000000000000/docker/ID",
            "/ID",
        ] {
            assert_eq!(place(path), (Some(SHORT.to_owned()), None), "{path}");
        }
    }

    #[test]
    fn containers_by_name() {
        for (path, container, service) in [
            ("/lxc.payload.web", "web", None),
            ("/lxc/web", "web", None),
            ("/lxc.payload.web/system.slice/nginx.service", "web", Some("nginx.service")),
        ] {
            assert_eq!(place(path), (Some(container.to_owned()), service.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn a_pod_stands_for_a_container_that_is_not_told() {
        let pod = Some(format!("pod-{UID}"));
        for path in ["/kubepods.slice/kubepods-besteffort-podUID_.slice", "/kubepods/podUID"] {
            assert_eq!(place(path).0, pod, "{path}");
        }
    }

    #[test]
    fn units() {
        for (path, service) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/system.slice/ssh.service/sub", Some("ssh.service")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service", Some("foo.service")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-12.scope",
                Some("app-firefox-12.scope"),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", Some("user@1000.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            ("/machine.slice/libpod-conmon-ID.scope", None),
            ("/init.scope", Some("init.scope")),
            ("/user.slice", None),
            ("/", None),
        ] {
            let conmon = path.contains("conmon").then(|| format!("libpod-conmon-{ID}.scope"));
            assert_eq!(place(path), (None, conmon.or(service.map(str::to_owned))), "{path}");
        }
    }

    #[test]
    fn what_only_looks_like_a_container_is_none() {
        for path in ["/docker", "/docker/abc", "/lxc", "/lxc.monitor.web", "/podman", "/kubepods.slice", ""] {
            assert_eq!(place(path), (None, None), "{path}");
        }
    }

    #[test]
    fn the_path_of_cgroup2_unless_another_says_more() {
        let told = |text: &str| {
            let place = CgroupPath::parse(&text.replace("ID", ID));
            (place.cgroup.map(|path| path.to_string()), place.container.map(|name| name.to_string()))
        };
        let path = |path: &str| Some(path.replace("ID", ID));
        assert_eq!(told("0::/system.slice/a.service\n"), (path("/system.slice/a.service"), None));
        let hybrid = "9:name=systemd:/user.slice\n4:cpu,memory:/docker/ID\n3:cpuset:/x\n0::/\n";
        assert_eq!(told(hybrid), (path("/docker/ID"), Some(SHORT.to_owned())));
        assert_eq!(told("2:memory:/x\n1:name=systemd:/y\n0::/z\n"), (path("/z"), None));
        assert_eq!(told("2:memory:/x\n1:name=systemd:/y\n0::/\n"), (path("/y"), None));
        assert_eq!(told("3:cpuset:/x\n0::/\n"), (path("/"), None));
        assert_eq!(told("0::/a:b\n"), (path("/a:b"), None));
        for odd in ["", "\n", "0", "0:", "3:cpuset:/x\n"] {
            assert_eq!(told(odd), (None, None), "{odd:?}");
        }
    }
}
