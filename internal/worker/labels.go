package worker

import (
	"fmt"

	"github.com/slipway-farm/slipway/internal/engine"
)

// labels mark everything that an attempt makes.
func (w *Worker) labels(id string, attempt int) map[string]string {
	all := w.hostLabels()
	all[engine.LabelJob], all[engine.LabelAttempt] = id, fmt.Sprint(attempt)
	return all
}

// hostLabels are those of all that is made here.
func (w *Worker) hostLabels() map[string]string {
	all := map[string]string{engine.LabelFarm: w.opts.Farm, engine.LabelHost: w.opts.HostID}
	if w.farm != "" {
		all[engine.LabelFarmID] = w.farm
	}
	return all
}

// ownLabels are those by which an attempt of this host is found. The identity is no
// other farm's, and the farm may have got another name since.
func (w *Worker) ownLabels(id string, attempt int) map[string]string {
	return map[string]string{engine.LabelHost: w.opts.HostID, engine.LabelJob: id, engine.LabelAttempt: fmt.Sprint(attempt)}
}
