//! What a person sees who holds it wrong.

use std::{fs, process::Command};

use lb_testkit::{require_root, system::System};

use crate::world;

#[test]
fn a_wrong_configuration_names_file_key_value_and_cure_and_exits_64() {
    let directory = std::env::temp_dir().join(lb_testkit::unique("lbusage"));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("lb.toml");
    for (text, needles) in [
        ("[api]\nlisten = \"nowhere\"\n", ["api.listen", "nowhere"]),
        ("[api]\nlissten = \"127.0.0.1:1\"\n", ["lissten", "listen"]),
        (
            "[controller]\nloadbalancer_topology = \"TRIPLE\"\n",
            ["TRIPLE", "ACTIVE_STANDBY"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = Command::new(world::binary().unwrap())
            .args(["server", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{text}: {said}");
        assert!(said.contains(&*file.to_string_lossy()), "{said}");
        for needle in needles {
            assert!(said.contains(needle), "{needle} is missing: {said}");
        }
        assert!(
            !said.contains("panicked") && !said.contains("backtrace"),
            "{said}"
        );
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_second_one_on_the_same_state_is_told_who_holds_it() {
    if !require_root("a_second_one_on_the_same_state_is_told_who_holds_it").unwrap() {
        return;
    }
    let _alone = world::alone();
    let place = world::place("lbusage").unwrap();
    let (base, api) = (place.base.clone(), place.api);
    let text = format!(
        "state_dir = \"{0}/state\"\nrun_dir = \"{0}/run\"\n[api]\nlisten = \"{api}\"\n\
         [controller]\nsync_listen = \"{1}\"\n",
        base.display(),
        place.sync
    );
    let mut system = System::new(&world::binary().unwrap(), place, &text).unwrap();
    system.start("server").unwrap();
    system.wait_ready().unwrap();
    let recorded = fs::read_to_string(base.join("server.pid")).unwrap();
    let pid = recorded.split_whitespace().next().unwrap();
    let output = Command::new(world::binary().unwrap())
        .args(["all-in-one", "--config"])
        .arg(system.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(pid), "the holder is process {pid}: {said}");
    system.stop("server").unwrap();
    fs::remove_file(base.join("lb.toml")).unwrap();
}

#[test]
fn without_root_the_agent_says_so_in_one_sentence() {
    if !require_root("without_root_the_agent_says_so_in_one_sentence").unwrap() {
        return;
    }
    let directory = std::env::temp_dir().join(lb_testkit::unique("lbnobody"));
    fs::create_dir_all(&directory).unwrap();
    let binary = directory.join("lbaas");
    fs::copy(world::binary().unwrap(), &binary).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ])
        .arg(&binary)
        .arg("agent")
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    fs::remove_dir_all(&directory).unwrap();
    assert!(!output.status.success());
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(said.contains("root"), "{said}");
}
