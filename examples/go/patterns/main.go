// Chaining, fan-out, events against a deadline, sub-orchestrations, continue-as-new, retries.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/task"
	"perdura.dev/examples/program"
)

func greet(ctx task.ActivityContext) (any, error) {
	var city string
	err := ctx.GetInput(&city)
	return fmt.Sprintf("Hello %s!", city), err
}

func square(ctx task.ActivityContext) (any, error) {
	var n int
	err := ctx.GetInput(&n)
	return n * n, err
}

func chain(ctx *task.OrchestrationContext) (any, error) {
	var cities, greetings []string
	if err := ctx.GetInput(&cities); err != nil {
		return nil, err
	}
	for _, city := range cities {
		var greeting string
		if err := ctx.CallActivity("greet", task.WithActivityInput(city)).Await(&greeting); err != nil {
			return nil, err
		}
		greetings = append(greetings, greeting)
	}
	return greetings, nil
}

func fanOut(ctx *task.OrchestrationContext) (any, error) {
	var count int
	if err := ctx.GetInput(&count); err != nil {
		return nil, err
	}
	var tasks []task.Task
	for n := 0; n < count; n++ {
		tasks = append(tasks, ctx.CallActivity("square", task.WithActivityInput(n)))
	}
	sum := 0
	for _, one := range tasks {
		var n int
		if err := one.Await(&n); err != nil {
			return nil, err
		}
		sum += n
	}
	return sum, nil
}

func approval(ctx *task.OrchestrationContext) (any, error) {
	var milliseconds int
	if err := ctx.GetInput(&milliseconds); err != nil {
		return nil, err
	}
	var by string
	err := ctx.WaitForSingleEvent("Approve", time.Duration(milliseconds)*time.Millisecond).Await(&by)
	if errors.Is(err, task.ErrTaskCanceled) {
		return "too late", nil
	}
	return by, err
}

func child(ctx *task.OrchestrationContext) (any, error) {
	var n int
	err := ctx.GetInput(&n)
	return n + 1, err
}

func parent(ctx *task.OrchestrationContext) (any, error) {
	var results []int
	for n := 0; n < 3; n++ {
		var result int
		if err := ctx.CallSubOrchestrator("child", task.WithSubOrchestratorInput(n)).Await(&result); err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}

func counter(ctx *task.OrchestrationContext) (any, error) {
	var seen []int
	if err := ctx.GetInput(&seen); err != nil {
		return nil, err
	}
	var n int
	if err := ctx.WaitForSingleEvent("Count", -1).Await(&n); err != nil {
		return nil, err
	}
	seen = append(seen, n)
	if len(seen) < 10 {
		ctx.ContinueAsNew(seen, task.WithKeepUnprocessedEvents())
		return nil, nil
	}
	return seen, nil
}

func main() {
	attempts := 0
	sometimes := func(ctx task.ActivityContext) (any, error) {
		attempts++
		if attempts < 3 {
			return nil, fmt.Errorf("attempt %d", attempts)
		}
		return attempts, nil
	}
	retried := func(ctx *task.OrchestrationContext) (any, error) {
		policy := &task.RetryPolicy{MaxAttempts: 3, InitialRetryInterval: 20 * time.Millisecond}
		var n int
		err := ctx.CallActivity("sometimes", task.WithActivityRetryPolicy(policy)).Await(&n)
		return n, err
	}

	r := task.NewTaskRegistry()
	for name, orchestrator := range map[string]task.Orchestrator{
		"chain": chain, "fanOut": fanOut, "approval": approval, "child": child, "parent": parent, "counter": counter,
		"retried": retried,
	} {
		program.Must(r.AddOrchestratorN(name, orchestrator))
	}
	for name, activity := range map[string]task.Activity{"greet": greet, "square": square, "sometimes": sometimes} {
		program.Must(r.AddActivityN(name, activity))
	}
	program.Run(r, func(c program.Client) {
		c.Brings(c.Start("chain", api.WithInput([]string{"Oslo", "Köln"})), []string{"Hello Oslo!", "Hello Köln!"})
		c.Brings(c.Start("fanOut", api.WithInput(100)), 328350)

		c.Brings(c.Start("approval", api.WithInput(500)), "too late")
		approved := c.Start("approval", api.WithInput(30_000))
		program.Must(c.RaiseEvent(c.Context, approved, "Approve", api.WithEventPayload("Ada")))
		c.Brings(approved, "Ada")

		c.Brings(c.Start("parent"), []int{1, 2, 3})

		counting := c.Start("counter", api.WithInput([]int{}))
		for n := 0; n < 10; n++ {
			program.Must(c.RaiseEvent(c.Context, counting, "Count", api.WithEventPayload(n)))
		}
		c.Brings(counting, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})

		c.Brings(c.Start("retried"), 3)
	})
}
