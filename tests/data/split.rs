use rnnx::data::split::Split;

#[test]
fn each_part_has_a_name() {
    let names = ["train", "valid", "test"];
    assert_eq!(Split::ALL.map(|split| split.to_string()), names);
    assert_eq!(names.map(|name| name.parse::<Split>().unwrap()), Split::ALL);
    assert_eq!(format!("{:7}|", Split::Test), "test   |");
    for other in ["", "Train", "validation"] {
        let error = other.parse::<Split>().unwrap_err();
        assert_eq!(error, "give train, valid or test");
    }
}
