package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrNoService says that the lab knows no service of a name.
var ErrNoService = errors.New("no such service")

// Second is the name of the volume that services called "...@second" are on.
const Second = "second"

// secondImage is the file under the second volume, among the state of each server's
// box: no simulated drive, and no power cut takes a write from it.
const secondImage = "second.img"

// SecondVIP is the address of the second volume.
var SecondVIP = netip.MustParseAddr("198.18.0.251")

// recipes are the stanzas of services, as docs/recipes explains them, with @MOUNT@,
// @VIP@ and @NAME@ to be filled in. Everybody may do everything: it is a lab.
var recipes = map[string]string{
	"nfs": `
      - name: @NAME@nfs
        after: []
        command: [/usr/share/gemel/recipes/nfs/start, @MOUNT@, "@VIP@"]
        ready-tcp: "@VIP@:2049"
        health: {tcp: "@VIP@:2049"}`,
	"samba": `
      - name: @NAME@samba
        after: []
        command: [/usr/share/gemel/recipes/samba/start, @MOUNT@, "@VIP@", --guest]
        ready-tcp: "@VIP@:445"
        health: {tcp: "@VIP@:445"}`,
	"postgresql": `
      - name: @NAME@postgresql
        after: []
        command: [/usr/share/gemel/recipes/postgresql/start, @MOUNT@, "@VIP@", --init-if-new, host all all 198.18.0.0/24 trust]
        ready-tcp: "@VIP@:5432"
        stop-signal: INT
        start-wait: 25s
        health: {command: [pg_isready, -q, -h, 127.0.0.1]}`,
	"web": `
      - name: @NAME@web
        after: []
        command: [/usr/share/gemel/recipes/web/start, @MOUNT@, "@VIP@"]
        ready-tcp: "@VIP@:80"
        health: {tcp: "@VIP@:80"}`,
}

type volumeData struct {
	Name, Device, Mount, VIP string
	Services                 string
}

// volumesOf returns the volumes with their services; device is the first one's.
func volumesOf(names []string, device string) ([]volumeData, error) {
	if len(names) == 0 {
		names = []string{"nfs"}
	}
	data := volumeData{Name: "data", Device: device, Mount: "/srv/data", VIP: VIP.String()}
	second := volumeData{Name: Second, Device: "/var/lib/gemel/" + secondImage, Mount: "/srv/second", VIP: SecondVIP.String()}
	for _, name := range names {
		service, volume, _ := strings.Cut(name, "@")
		text, known := recipes[service]
		if !known || volume != "" && volume != Second {
			return nil, fmt.Errorf("%q: %w; there are %s, each also with @%s", name, ErrNoService, serviceNames(), Second)
		}
		to := &data
		if volume == Second {
			to = &second
		}
		to.Services += strings.TrimPrefix(strings.NewReplacer("@NAME@", strings.TrimPrefix(to.Name+"-", "data-"), "@MOUNT@", to.Mount, "@VIP@", to.VIP).Replace(text)+"\n", "\n")
	}
	if data.Services == "" {
		data.Services = "      []\n"
	}
	volumes := []volumeData{data, second}
	if second.Services == "" {
		volumes = volumes[:1]
	}
	for i := range volumes {
		volumes[i].Services = strings.TrimRight(volumes[i].Services, "\n")
	}
	return volumes, nil
}

// makeSecond makes the file under the second volume on every server.
func makeSecond(lab string, state *State) error {
	if !slices.ContainsFunc(state.Services, func(s string) bool { return strings.HasSuffix(s, "@"+Second) }) {
		return nil
	}
	for _, box := range Boxes()[:2] {
		if err := makeImage(nodeDir(lab, box.Name, "state", secondImage), state.DiskSize/2); err != nil {
			return fmt.Errorf("second disk of %s: %w", box.Name, err)
		}
	}
	return nil
}

func serviceNames() string {
	var names []string
	for name := range recipes {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
