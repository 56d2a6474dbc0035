package walk

import "testing"

func TestDrillsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, drill := range Drills() {
		if drill.Name == "" || drill.Story == "" || seen[drill.Name] {
			t.Errorf("drill %q has no name or story of its own", drill.Name)
		}
		seen[drill.Name] = true
		steps := drill.Steps("server2", "server1")
		if len(steps) == 0 {
			t.Errorf("drill %s does nothing", drill.Name)
		}
		for _, step := range steps {
			if step.Verb == "" || len(step.Args) == 0 || step.Wait == 0 {
				t.Errorf("drill %s: step %+v", drill.Name, step)
			}
		}
		if found, ok := DrillNamed(drill.Name); !ok || found.Name != drill.Name {
			t.Errorf("drill %s is not found", drill.Name)
		}
	}
	if _, ok := DrillNamed("earthquake"); ok {
		t.Error("a drill that is not there was found")
	}
}
