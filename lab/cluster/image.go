package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
)

// latestImage is the image of every box where the build left no name.
const latestImage = "gemel-lab/node:latest"

// ImageOf returns the image that belongs to binaries in dir: images/build.sh leaves its name
// there. The name is made from what is in the image, so that trees with different recipes
// do not take each other's.
func ImageOf(dir string) string {
	name, err := os.ReadFile(filepath.Join(dir, "image"))
	if text := strings.TrimSpace(string(name)); err == nil && text != "" {
		return text
	}
	return latestImage
}

func (c *Cluster) checkImage(ctx context.Context, image string) error {
	_, err := c.engine.ImageInspect(ctx, image)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("the image %s is not built; next: run images/build.sh", image)
	}
	if err != nil {
		return fmt.Errorf("look for image %s: %w", image, err)
	}
	return nil
}

// image is what the lab's next boxes are made of.
func (c *Cluster) image() (string, error) {
	state, err := loadState(c.dir)
	if err != nil {
		return "", err
	}
	if state.Image == "" {
		return latestImage, nil
	}
	return state.Image, nil
}
