// Suspend, resume, terminate, purge, ids that are used again, a start that lies ahead.
package main

import (
	"strings"
	"time"

	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/task"
	"perdura.dev/examples/program"
)

func wait(ctx *task.OrchestrationContext) (any, error) {
	ctx.SetCustomStatus("waiting")
	var n int
	err := ctx.WaitForSingleEvent("Go", -1).Await(&n)
	return n, err
}

func tree(ctx *task.OrchestrationContext) (any, error) {
	var depth int
	if err := ctx.GetInput(&depth); err != nil {
		return nil, err
	}
	if depth == 0 {
		return nil, ctx.WaitForSingleEvent("Never", -1).Await(nil)
	}
	id := string(ctx.ID) + "-child"
	child := ctx.CallSubOrchestrator("tree", task.WithSubOrchestratorInput(depth-1), task.WithSubOrchestrationInstanceID(id))
	return nil, child.Await(nil)
}

func echo(ctx *task.OrchestrationContext) (any, error) {
	var text string
	err := ctx.GetInput(&text)
	return text, err
}

func main() {
	r := task.NewTaskRegistry()
	program.Must(r.AddOrchestratorN("wait", wait))
	program.Must(r.AddOrchestratorN("tree", tree))
	program.Must(r.AddOrchestratorN("echo", echo))
	program.Run(r, func(c program.Client) {
		held := c.Start("wait", api.WithInstanceID("held"))
		state := c.Until(held, api.RUNTIME_STATUS_RUNNING)
		program.Check(state.SerializedCustomStatus, "waiting", "custom status")
		program.Must(c.SuspendOrchestration(c.Context, held, "a pause"))
		c.Until(held, api.RUNTIME_STATUS_SUSPENDED)
		program.Must(c.RaiseEvent(c.Context, held, "Go", api.WithEventPayload(42)))
		time.Sleep(300 * time.Millisecond)
		c.Until(held, api.RUNTIME_STATUS_SUSPENDED)
		program.Must(c.ResumeOrchestration(c.Context, held, "go on"))
		c.Brings(held, 42)

		root := c.Start("tree", api.WithInput(2), api.WithInstanceID("root"))
		for {
			leaf, err := c.FetchOrchestrationMetadata(c.Context, "root-child-child")
			if err == nil && leaf.RuntimeStatus == api.RUNTIME_STATUS_RUNNING {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		program.Must(c.TerminateOrchestration(c.Context, root, api.WithOutput("enough"), api.WithRecursiveTerminate(true)))
		for _, id := range []api.InstanceID{"root", "root-child", "root-child-child"} {
			program.Check(c.EndOf(id).RuntimeStatus, api.RUNTIME_STATUS_TERMINATED, string(id))
		}
		program.Check(c.EndOf(root).SerializedOutput, `"enough"`, "the reason")

		// The id of one that runs is taken; what shall happen then is said by the caller.
		running := c.Start("wait", api.WithInstanceID("again"))
		c.Until(running, api.RUNTIME_STATUS_RUNNING)
		_, err := c.ScheduleNewOrchestration(c.Context, "wait", api.WithInstanceID("again"))
		program.Check(err != nil && strings.Contains(err.Error(), "already exists"), true, "a second start")
		policy := func(action api.CreateOrchestrationAction) api.NewOrchestrationOptions {
			statuses := []api.OrchestrationStatus{api.RUNTIME_STATUS_RUNNING, api.RUNTIME_STATUS_TERMINATED}
			return api.WithOrchestrationIdReusePolicy(&api.OrchestrationIdReusePolicy{Action: action, OperationStatus: statuses})
		}
		c.Start("echo", api.WithInstanceID("again"), api.WithInput("ignored"), policy(api.REUSE_ID_ACTION_IGNORE))
		program.Check(c.Until(running, api.RUNTIME_STATUS_RUNNING).Name, "wait", "the first one stays")
		c.Start("echo", api.WithInstanceID("again"), api.WithInput("replaced"), policy(api.REUSE_ID_ACTION_TERMINATE))
		c.Brings(running, "replaced")

		began := time.Now()
		c.Brings(c.Start("echo", api.WithInput("later"), api.WithStartTime(time.Now().Add(time.Second))), "later")
		program.Check(time.Since(began) >= 900*time.Millisecond, true, "a start that lies ahead")

		program.Must(c.PurgeOrchestrationState(c.Context, held))
		_, err = c.FetchOrchestrationMetadata(c.Context, held)
		program.Check(err, api.ErrInstanceNotFound, "purged")
		program.Must(c.PurgeOrchestrationState(c.Context, root, api.WithRecursivePurge(true)))
		_, err = c.FetchOrchestrationMetadata(c.Context, "root-child-child")
		program.Check(err, api.ErrInstanceNotFound, "purged with its children")
	})
}
