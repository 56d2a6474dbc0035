package check

import "testing"

func TestHolderStopsBeforeAnotherIsElected(t *testing.T) {
	cases, violation := Leases(LeaseAsDesigned)
	t.Logf("%d cases", cases)
	if violation != "" {
		t.Error(violation)
	}
}

func TestLeaseMutantsAreCaught(t *testing.T) {
	for mutant := CountFromReceipt; mutant <= RenewAfterPromise; mutant++ {
		cases, violation := Leases(mutant)
		t.Logf("mutant %d: case %d: %s", mutant, cases, violation)
		if violation == "" {
			t.Errorf("the check did not notice lease mutant %d", mutant)
		}
	}
}
